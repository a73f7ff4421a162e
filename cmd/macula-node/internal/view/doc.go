// Package view prints what commands of macula-node were told: nodes, gateways, answers of
// lookups, what the doctor has found, and how a node is.
package view
