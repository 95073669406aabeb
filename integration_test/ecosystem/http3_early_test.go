package ecosystem_test

import (
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// What http3.Server writes into a session comes back from memory and from a
// store, or it would refuse 0-RTT.
func TestHTTP3ServersAccept0RTTWhereTheServersHalfDoes(t *testing.T) {
	const visits = 4
	leakCheck(t)
	for name, c := range map[string]struct {
		cache *resume.ServerCache
		early bool
	}{
		"memory":                     {&resume.ServerCache{EarlyData: true}, true},
		"store":                      {earlyFleet(t, 1)[0], true},
		"memory, without early data": {new(resume.ServerCache), false},
		"stateless":                  {quicHalves(t)["stateless"], false},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite()
			client := newQUICConfig(newCache(t), site.client)
			addr := startHTTP3(t, site.http3Server(c.cache))
			for visit := range visits {
				resumed, early, err := dialHTTP3(t.Context(), addr, client)
				require.NoError(t, err)
				if c.cache.Stats().StoreErrors == 0 {
					require.Equal(t, visit > 0, resumed, "in visit %d", visit)
					require.Equal(t, visit > 0 && c.early, early, "in visit %d", visit)
				}
			}
			requireNoReuse(t, site.seen)
		})
	}
}

// http3.Server refuses 0-RTT to sessions made under settings that it no longer
// has. They are resumed all the same.
func TestHTTP3ServersOfAFleetAgreeOnSettingsBefore0RTT(t *testing.T) {
	leakCheck(t)
	site := newSite()
	fleet := earlyFleet(t, 2)
	before := site.http3Server(fleet[0])
	before.EnableDatagrams = true
	was, is := startHTTP3(t, before), startHTTP3(t, site.http3Server(fleet[1]))
	client := newQUICConfig(newCache(t), site.client)
	for i, visit := range []struct {
		addr           string
		resumed, early bool
	}{{was, false, false}, {was, true, true}, {is, true, false}, {is, true, true}} {
		resumed, early, err := dialHTTP3(t.Context(), visit.addr, client)
		require.NoError(t, err)
		if fleet[0].Stats().StoreErrors+fleet[1].Stats().StoreErrors == 0 {
			require.Equal(t, []bool{visit.resumed, visit.early}, []bool{resumed, early}, "in visit %d", i)
		}
	}
	requireNoReuse(t, site.seen)
}

// quic.Config has to say what the server's half says: if its switch is left on,
// as it is in http3.Server without a QUICConfig, every resumed connection of an
// early dial tries 0-RTT in vain. quic-go then fails what it is used for until
// NextConnection is called, which http3.Transport does not.
func TestQUICConnectionsWhose0RTTIsRefusedAreOfNoUseAtFirst(t *testing.T) {
	leakCheck(t)
	site := newSite()
	cache := new(resume.ServerCache)
	server := site.http3Server(cache)
	server.QUICConfig = nil
	addr := startHTTP3(t, server)
	client := newQUICConfig(newCache(t), site.client)
	client.NextProtos = []string{http3.NextProtoH3}
	_, _, err := dialHTTP3(t.Context(), addr, client)
	require.NoError(t, err)
	for range 3 {
		conn, err := dialQUIC(bounded(t), addr, client)
		require.NoError(t, err)
		<-conn.HandshakeComplete()
		_, err = conn.OpenStreamSync(bounded(t))
		require.ErrorIs(t, err, quic.Err0RTTRejected)
		resumed, early, err := goOn(bounded(t), conn)
		require.NoError(t, err)
		require.Equal(t, []bool{true, false}, []bool{resumed, early})
	}
	require.EqualValues(t, 3, cache.Stats().Resumed)
	requireNoReuse(t, site.seen)
}
