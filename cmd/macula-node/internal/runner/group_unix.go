//go:build unix

package runner

import (
	"os/exec"
	"syscall"
)

// ownGroup has a command, and what it begins, be a process group, which is killed as one.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return kill(c) }
}

// endGroup kills what is left of the group of a command that has ended.
func endGroup(c *exec.Cmd) { _ = kill(c) }

func kill(c *exec.Cmd) error {
	if c.Process == nil {
		return nil
	}
	return syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
}
