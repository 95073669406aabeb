package peer

// OpenSSL is openssl s_server with further arguments, such as "-num_tickets",
// "4". It echoes lines, reversed.
func OpenSSL(args ...string) Program {
	return Program{
		Name: "openssl s_server", Command: "openssl", Package: "openssl",
		Talk: Line, Serial: true,
		version: []string{"version"},
		configure: func(s site) ([]string, error) {
			return append([]string{
				"s_server", "-accept", s.addr, "-cert", s.certFile, "-key", s.certKey, "-rev", "-quiet",
			}, args...), nil
		},
	}
}
