package pace

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWindow(t *testing.T) {
	const length = 10 * time.Second
	addr := netip.MustParseAddrPort("192.0.2.7:9443")
	ours := func(t *testing.T, w *window) (waited time.Duration) {
		waited, err := w.take(t.Context(), addr)
		require.NoError(t, err)
		return waited
	}
	for name, test := range map[string]func(*testing.T, *window){
		"ours wait": func(t *testing.T, w *window) {
			for range 4 {
				require.Zero(t, ours(t, w))
			}
			require.Equal(t, length, ours(t, w))
		},
		"what is not dialled here is no matter of ours": func(t *testing.T, w *window) {
			for range 20 {
				require.True(t, w.beside(addr))
			}
			require.Equal(t, length, ours(t, w), "but was dialled, so we wait")
		},
		"others have half at most": func(t *testing.T, w *window) {
			ours(t, w)
			require.True(t, w.beside(addr))
			require.True(t, w.beside(addr))
			require.False(t, w.beside(addr))
			require.True(t, w.beside(netip.MustParseAddrPort("192.0.2.7:9444")))
			require.Zero(t, ours(t, w), "the other half is ours")
			time.Sleep(length)
			require.True(t, w.beside(addr))
		},
		"others have nothing when ours are all": func(t *testing.T, w *window) {
			for range 4 {
				ours(t, w)
			}
			require.False(t, w.beside(addr))
			time.Sleep(length)
			require.True(t, w.beside(addr))
		},
		"nothing is kept of what was dialled long ago": func(t *testing.T, w *window) {
			ours(t, w)
			require.True(t, w.beside(netip.MustParseAddrPort("192.0.2.7:9444")))
			time.Sleep(remembered)
			require.True(t, w.beside(netip.MustParseAddrPort("192.0.2.7:9445")))
			require.Len(t, w.made, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, &window{dials: 4, length: length, made: make(map[netip.AddrPort]*history)})
			})
		})
	}
}
