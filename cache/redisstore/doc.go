// Package redisstore is a [cache.Store] in Redis.
package redisstore
