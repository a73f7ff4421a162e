package datadir

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// beNode makes the test binary a process that uses the data directory named by it
// until its end.
const beNode = "MACULA_DATADIR_TEST"

func TestMain(m *testing.M) {
	if dir := os.Getenv(beNode); dir != "" {
		d, err := Use(dir)
		if err == nil {
			err = d.Publish(Running{PID: os.Getpid(), PeerID: "p", Addrs: []string{"a"}})
		}
		fmt.Println(err)
		select {}
	}
	goleak.VerifyTestMain(m)
}
