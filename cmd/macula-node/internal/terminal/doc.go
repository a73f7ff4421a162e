// Package terminal prints what commands of macula-node say: lines of JSON, tables, and
// text of which nothing steers the terminal.
package terminal
