//go:build !unix

package runner

import "os/exec"

// There are no process groups to kill: a command is killed alone.
func ownGroup(*exec.Cmd) {}

func endGroup(*exec.Cmd) {}
