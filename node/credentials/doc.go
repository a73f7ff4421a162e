// Package credentials has what a node proves itself with, and what it accepts from
// others: the identity key and the self-signed certificate that it keeps in its data
// directory, and the files and modes of [TLS] towards Erlang nodes.
package credentials
