package resume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What an event knows is in each form of it, and what it does not know is in
// none: who greps a log for a reason must not find an empty one.
func TestAnEventSaysWhatItKnowsAndNothingElse(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	session := p.bound(t, c.Scope("tenant"), true).Get1Session()
	defer session.Release()
	name := session.String()
	for _, row := range []struct {
		event Event
		text  string
		attrs []string
	}{
		{Event{Kind: Cleared}, "Cleared", []string{"kind", "scope", "server", "reason"}},
		{
			Event{Kind: TicketCaptured, Scope: "a", Server: "b", Session: session},
			`TicketCaptured scope="a" server="b" ` + name, []string{"kind", "scope", "server", "session", "reason"},
		},
		{
			Event{Kind: HandshakeDone, Server: "b", Resumed: true},
			`HandshakeDone server="b" resumed=true`, []string{"kind", "scope", "server", "resumed", "reason"},
		},
		{
			Event{Kind: HandshakeDone, Reason: "refused"},
			"HandshakeDone resumed=false reason=refused", []string{"kind", "scope", "server", "resumed", "reason"},
		},
		{
			Event{Kind: StoreFailed, Reason: "take", Err: errors.New("down\nand out")},
			`StoreFailed reason=take err="down\nand out"`, []string{"kind", "scope", "server", "err", "reason"},
		},
	} {
		require.Equal(t, row.text, row.event.String())
		require.Equal(t, "resume.Event("+row.text+")", fmt.Sprintf("%#v", row.event))
		var attrs []string
		for _, a := range row.event.LogValue().Group() {
			attrs = append(attrs, a.Key)
			switch a.Key {
			case "resumed":
				require.Equal(t, row.event.Resumed, a.Value.Bool())
			case "err":
				require.Equal(t, row.event.Err, a.Value.Any())
			case "session":
				require.Same(t, row.event.Session, a.Value.Any())
			case "reason":
				require.Equal(t, row.event.Reason, a.Value.String())
			}
		}
		require.Equal(t, row.attrs, attrs)
	}
}

func TestEveryKindOfEventHasItsName(t *testing.T) {
	seen := make(map[string]bool)
	for kind := TicketCaptured; kind <= StoreRecovered; kind++ {
		require.NotContains(t, kind.String(), "EventKind")
		require.False(t, seen[kind.String()], kind)
		seen[kind.String()] = true
	}
	for _, none := range []EventKind{0, -1, StoreRecovered + 1} {
		require.Equal(t, fmt.Sprintf("EventKind(%d)", int(none)), none.String())
	}
}

// An event says when, and whose: the store's failures too, which concern a
// scope though no session.
func TestEveryEventSaysWhenAndOfWhichScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFleet(), newPeer(t)
		var d diary
		c := &ClientCache{Store: Seal(f.shelf, f.keys), Observe: d.note}
		scope := c.Scope("tenant")
		time.Sleep(time.Hour)
		p.bound(t, scope, true)
		require.NoError(t, c.Flush(context.Background()))
		f.shelf.fail(errors.New("down"))
		p.bound(t, scope, true)
		require.Error(t, c.Flush(context.Background()))
		synctest.Wait()
		require.NotEmpty(t, d.reasons(StoreFailed))
		for _, e := range d.events {
			require.Equal(t, time.Now(), e.Time, "no time has passed: %v", e)
			require.Equal(t, "tenant", e.Scope, "%v", e)
		}
		f.shelf.fail(nil)
		require.NoError(t, c.Close())
	})
}

// What is logged of Stats is Stats: each number under its own name.
func TestLoggedStatsAreTheStats(t *testing.T) {
	st := Stats{Captured: 1, Used: 2, Expired: 3, Evicted: 4, Removed: 5, Failed: 6, Kept: 7, Full: 8, Resumed: 9}
	logged := make(map[string]uint64)
	for _, a := range st.LogValue().Group() {
		logged[a.Key] = a.Value.Uint64()
	}
	require.Subset(t, logged, map[string]uint64{
		"captured": 1, "used": 2, "expired": 3, "evicted": 4, "removed": 5, "failed": 6, "kept": 7, "full": 8, "resumed": 9,
	})
}

// A nil that reaches a log is a line there and no panic in it.
func TestNilReceiversCanBePrintedAndLogged(t *testing.T) {
	for value, want := range map[slog.LogValuer]string{
		(*Conn)(nil):        "Conn(nil)",
		new(Conn):           "Conn(nil)",
		(*Scope)(nil):       "Scope(nil)",
		(*ClientCache)(nil): "ClientCache(nil)",
		(*ServerCache)(nil): "ServerCache(nil)",
		(*SealedStore)(nil): "SealedStore(nil)",
		(*Session)(nil):     "Session(none)",
		new(Session):        "Session(none)",
		Dialer{}:            "Dialer(Scope(nil))",
		new(ServerCache):    "ServerCache(0 sessions, 0 bytes)",
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			require.Equal(t, want, fmt.Sprintf(verb, value), "%T", value)
		}
		logged := value.LogValue()
		require.NotEmpty(t, logged.String())
		if logged.Kind() == slog.KindString {
			require.Equal(t, want, logged.String())
		}
	}
}

// A session without a ticket has no name to be called by, and one that cannot
// be resumed says why in any log.
func TestASessionsStringSaysHowItStands(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	conn := p.bound(t, c.NewScope(), false)
	pending := conn.Get0Session()
	require.Equal(t, "Session(Pending: no-ticket)", pending.String())
	exchange(t, conn)
	session := conn.Get1Session()
	defer session.Release()
	id := session.Info().ID
	require.Equal(t, "Session("+id+" Resumable)", session.String())
	require.True(t, c.Remove(session))
	require.Equal(t, "Session("+id+" Removed: removed)", session.String())
	require.False(t, strings.Contains(pending.String(), id))
}
