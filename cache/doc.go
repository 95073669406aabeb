// Package cache remembers. It knows nothing of TLS: it never parses, never
// encrypts and does not import crypto/tls.
//
// [Pool] is memory in the process: for each key a stack of values, the newest
// on top, bounded in keys, values per key and bytes, and expiring. A value that
// was taken is out of the pool, so that it is used at most once.
package cache
