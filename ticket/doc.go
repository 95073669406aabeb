// Package ticket computes on TLS session tickets: bytes, keys and an explicit
// time in, values out. It performs no I/O but to draw random numbers, starts
// no goroutine and keeps nothing that is secret.
//
// crypto/tls hands out sessions as opaque values: a tls.SessionState shows
// neither its version nor its lifetime. [Inspect] reads both from the encoding
// that crypto/tls documents, forward and no further than needed, so that a Go
// release that appends a field changes nothing and one that changes more is
// noticed instead of misread.
//
// A session that is to outlive the process, or to go to another, becomes a
// [Record], which is bytes with a revision, and in them certificates once. A
// [Keyring] seals the bytes, ties them to their place in a store and names
// that place, so that a store holds nothing that resumes a session or tells
// whose it is.
package ticket
