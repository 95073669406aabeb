// Package ticket computes on TLS session tickets: bytes and an explicit time
// in, values out. It performs no I/O, starts no goroutine and keeps nothing.
//
// crypto/tls hands out sessions as opaque values: a tls.SessionState shows
// neither its version nor its lifetime. [Inspect] reads both from the encoding
// that crypto/tls documents, forward and no further than needed, so that a Go
// release that appends a field changes nothing and one that changes more is
// noticed instead of misread.
package ticket
