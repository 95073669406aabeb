// Package peer runs the TLS servers that people run, for tests: each from its
// Debian package, with a throwaway certificate, at a free port of 127.0.0.1 and
// with its files in a directory of its own. A Server is stopped with all its
// processes, and can be restarted at the same address with new ticket keys.
//
// Where not said otherwise, what decides about tickets is left at the program's
// defaults: those are what a client meets. Like tlstest, it does not import
// testing.
package peer
