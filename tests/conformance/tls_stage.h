// What TLS scenarios share: the certificates they name, and the pair of sockets most are played on.
#pragma once

#if WARREN_TLS

#include <string>

#include "conformance/stage.h"
#include "support/certificates.h"

namespace warren::conformance {

// Made once in a process, except those asked for by what they are.
const test::Identity& authority();
const test::Identity& localhost();     // serial 1001
const test::Identity& localhostRsa();  // serial 1002
const test::Identity& elsewhere();     // other.example and *.wild.example
test::Identity selfSignedLocalhost();

TlsOptions showing(const test::Identity& identity);
inline TlsOptions serverTls() { return showing(localhost()); }
TlsOptions clientTls(const std::string& serverName = "localhost");

// The table with a `handshake` handler, if it has none.
Table shaking(Table table = {});

// listen and connect as a verified pair, `handshake` handlers on both sides, and both have shaken hands.
struct Verified {
  Table server{};
  Table client{};
  Listening listening{};
  Connecting connecting{};
  std::string suffix{};  // of the actors' names: "client/h2"
};
Host verified(Stage& stage, Verified with = {});

// connect(), noted, and how it ended.
void connects(Stage& stage, const std::string& who, Table table, Connecting options);

// Facts as the reference shows them.
Json versionOf(Actor socket);
Json cipherOf(Actor socket);
Json protocolOf(Actor socket);
Json nameOf(Actor socket);
// Of a distinguished name: "CN=localhost,O=warren test" -> "localhost".
Json commonName(const std::vector<Certificate>& chain);

// Bytes between a client and the TLS listener, carried by the test: it may cut them or add to them.
class Relay {
 public:
  explicit Relay(Stage& stage) : stage_(stage), listening_(test::RawSocket::listenTcp()) {}

  uint16_t port() const { return listening_.port(); }
  // Takes the client that has dialed, and dials the last listener for it.
  void take();
  // Carries what is there, both ways, until the condition holds.
  void until(const std::function<bool()>& condition);
  void carry();

  test::RawSocket toClient;
  test::RawSocket toServer;

 private:
  void carry(test::RawSocket& from, test::RawSocket& to);

  Stage& stage_;
  test::RawSocket listening_;
};

}  // namespace warren::conformance

#endif  // WARREN_TLS
