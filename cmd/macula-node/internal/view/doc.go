// Package view prints what commands of macula-node were told: nodes, gateways, and how a
// node is.
package view
