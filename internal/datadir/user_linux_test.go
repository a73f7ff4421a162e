package datadir

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// nobody is a user and group without rights.
const nobody = 65534

// asNobody is an environment variable of a test that is run once more as nobody.
const asNobody = "MACULA_DATADIR_NOBODY"

// unprivileged reports whether a test goes on: root, who may do everything, runs it in
// another process as nobody.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR=/tmp", asNobody+"="+os.Getenv(asNobody))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("as nobody:\n%s", out)
	if err != nil {
		t.Errorf("as nobody: %v", err)
	}
	return false
}
