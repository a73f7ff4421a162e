package settings

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/api/door"
	"github.com/macula-mesh/macula-node/node/credentials"
)

func checkPort(text string) error {
	if n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16); err != nil || n == 0 {
		return errors.New("want 1 to 65535; for any free port write --listen /ip4/0.0.0.0/udp/0/quic-v1")
	}
	return nil
}

func checkMode(text string) error {
	switch node.Mode(text) {
	case node.ModeAuto, node.ModeServer, node.ModeClient:
		return nil
	}
	return errors.New("write auto, server or client")
}

// off has no local API over TCP.
const off = "off"

func checkAPI(text string) error {
	if strings.TrimSpace(text) == off {
		return nil
	}
	if _, err := door.ParseAddress(strings.TrimSpace(text)); err != nil {
		return fmt.Errorf("%w; or write off", err)
	}
	return nil
}

func checkHealth(text string) error {
	_, err := healthAddr(text)
	return err
}

// healthAddr returns where probes of health are answered, host:port, or nothing.
func healthAddr(text string) (string, error) {
	if text = strings.TrimSpace(text); text == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = "", text
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("want a port, 1 to 65535, or HOST:PORT")
	}
	return net.JoinHostPort(host, port), nil
}

func checkTLSMode(text string) error {
	_, err := credentials.ParseTLSMode(text)
	return err
}
