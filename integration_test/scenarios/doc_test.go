// Package scenarios_test plays the session scenarios of OpenSSL's own test
// suite (test/sslapitest.c), and some of BoringSSL and rustls, from the side of
// a client. They were written anew; each test is named for what it asserts
// here, and a comment has the original's name and says where we differ on
// purpose.
//
// What no scenario of theirs asks for is in the folder above.
package scenarios_test
