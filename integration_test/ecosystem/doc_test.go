// Package ecosystem_test proves the recipes of docs/recipes.md: stacks that sit
// on crypto/tls, and servers that people run, resume through this layer
// without one ticket being offered twice, counted on the server's side.
//
// Files named recipe_*_test.go hold the recipes themselves, word for word as
// the page has them, and an Example of each. The others hold the proofs.
package ecosystem_test
