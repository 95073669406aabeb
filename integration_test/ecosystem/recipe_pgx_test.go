package ecosystem_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tlsresume/tlsresume/resume"
)

// pgxConfig is to be made once for a connection string and kept; pgx and its
// pool clone it. What sslmode and sslrootcert say stays in force.
func pgxConfig(scope *resume.Scope, connString string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	if config.TLSConfig != nil { // nil is plain text
		config.TLSConfig = scope.TLSConfig(config.TLSConfig)
	}
	for _, other := range config.Fallbacks { // further hosts and addresses
		if other.TLSConfig != nil {
			other.TLSConfig = scope.TLSConfig(other.TLSConfig)
		}
	}
	return config, nil
}

func Example_pgx() {
	var cache resume.ClientCache
	config, err := pgxConfig(cache.NewScope(),
		"host=db.example.com user=app sslmode=verify-full sslnegotiation=direct")
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(context.Background())
	fmt.Println(conn.Ping(context.Background()))
}
