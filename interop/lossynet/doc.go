// Package lossynet is a network between hosts on one machine that loses, delays and
// reorders packets, and that can be parted: a [Host] is a network namespace of its own with
// a tun device as its only way out, and a [Switch], in user space, joins the devices. So
// real programs, unchanged, meet a bad network, also where the kernel has nothing that
// makes one.
//
// It needs Linux, /dev/net/tun, and the right to make network namespaces (CAP_NET_ADMIN
// and CAP_SYS_ADMIN); [NewHost] fails with [ErrNotPermitted] elsewhere. Nothing of it has a
// name outside of the process: namespaces and devices are gone with their files, however
// the process ends. Hosts have no default route, and nothing leaves the switch but to
// another of its hosts.
package lossynet
