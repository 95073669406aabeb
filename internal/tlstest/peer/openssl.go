package peer

// OpenSSL is openssl s_server with further arguments, such as "-num_tickets",
// "4". It echoes lines, reversed.
func OpenSSL(args ...string) Program { return sServer(append(args, "-rev")) }

// OpenSSLEarlyData is openssl s_server that takes early data and therefore each
// ticket once. It does not do so together with -rev, but writes what it
// receives to its output and sends its input: joined, they echo.
func OpenSSLEarlyData(args ...string) Program {
	p := sServer(append(args, "-early_data"))
	p.looped = true
	return p
}

func sServer(args []string) Program {
	return Program{
		Name: "openssl s_server", Command: "openssl", Package: "openssl",
		Talk: Line, Serial: true,
		version: []string{"version"},
		configure: func(s site) ([]string, error) {
			return append([]string{
				"s_server", "-quiet", "-accept", s.addr, "-cert", s.certFile, "-key", s.certKey,
			}, args...), nil
		},
	}
}
