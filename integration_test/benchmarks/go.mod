module github.com/tlsresume/tlsresume/integration_test/benchmarks

go 1.26.6

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/maypok86/otter/v2 v2.4.0
	github.com/stretchr/testify v1.12.1
	github.com/tlsresume/tlsresume v0.0.0
	golang.org/x/sync v0.24.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/tlsresume/tlsresume => ../..
