// Package layers holds the test that keeps the house's imports running one way;
// docs/ARCHITECTURE.md has the picture.
package layers
