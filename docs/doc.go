// Package docs is the documentation. Its tests run the commands that it and the README
// show, and compile their Go.
package docs
