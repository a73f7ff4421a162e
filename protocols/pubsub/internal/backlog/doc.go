// Package backlog holds what waits in topics, each within bounds and fair among those who
// have brought it: messages for somebody slow, and messages of which it is not known yet
// whom they have to be sent.
package backlog
