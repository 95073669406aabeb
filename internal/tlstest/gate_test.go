package tlstest_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

func TestGateOpensForTheLastOfThoseExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gate tlstest.Gate
		gate.Wait() // nobody is expected
		for range 2 {
			gate.Expect(3)
			var passed sync.Map
			come := func(i int) { gate.Wait(); passed.Store(i, true) }
			go come(1)
			go come(2)
			synctest.Wait()
			_, early := passed.Load(1)
			require.False(t, early, "before the third")
			come(3)
			synctest.Wait()
			_, ok := passed.Load(1)
			require.True(t, ok)
			gate.Wait() // it stays open
		}
	})
}

func TestGateLetsGoWhenItsBurstIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gate tlstest.Gate
		gate.Expect(2)
		done := make(chan struct{})
		go func() { gate.Wait(); close(done) }()
		synctest.Wait()
		gate.Expect(0)
		<-done
	})
}
