module github.com/tlsresume/tlsresume

go 1.26.6

require (
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/sync v0.24.0 // indirect
)
