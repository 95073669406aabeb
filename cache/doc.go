// Package cache remembers. It knows nothing of TLS: it never parses, never
// encrypts and does not import crypto/tls.
//
// [Pool] is memory in the process: for each key a stack of values, the newest
// on top, each in one of the key's groups. It is bounded in keys, groups per
// key, values per group and bytes, and values expire. A value that was taken is
// out of the pool, so that it is used at most once.
//
// [Store] is the contract for memory outside the process, which hands each
// entry out at most once; cachetest tests it, dirstore keeps it in a directory.
package cache
