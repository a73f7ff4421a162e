// Package settings has what an operator can set, in one table: from it come the flags, the
// environment variables, the configuration file and their documentation. Of a setting that is
// written in several places the file gives way to the environment, and that to flags.
package settings
