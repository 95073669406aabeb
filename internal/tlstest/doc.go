// Package tlstest is what the tests and the demo share: a throwaway CA, and
// servers that count, on their side of the wire, which tickets were presented
// to them by which connection. It does not import testing.
package tlstest
