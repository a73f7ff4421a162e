// Package page is a node's status page: what its operator wants to know at a glance, made on
// the server, so that a browser without JavaScript shows all of it. With it the page keeps
// itself up to date, and draws a lookup as it runs. It reads alone: nothing on it changes
// anything. Whatever comes from others is escaped, cut short, and set apart from the text
// around it.
package page
