#include "conformance/tls_stage.h"

#include <utility>

namespace warren::conformance {

using test::CertificateSpec;
using test::Identity;
using test::KeyType;

// --- certificates ----------------------------------------------------------------------------------

const Identity& authority() {
  static const Identity made =
      test::selfSigned({.subject = "O=warren test,CN=Warren Test CA", .authority = true});
  return made;
}

const Identity& localhost() {
  static const Identity made =
      test::issue(authority(), {.subject = "C=SE,O=warren test,CN=localhost",
                                .names = {"DNS:localhost", "IP:127.0.0.1"},
                                .serial = 0x1001});
  return made;
}

const Identity& localhostRsa() {
  static const Identity made =
      test::issue(authority(), {.subject = "C=SE,O=warren test,CN=localhost",
                                .names = {"DNS:localhost", "IP:127.0.0.1"},
                                .type = KeyType::rsa,
                                .serial = 0x1002});
  return made;
}

const Identity& elsewhere() {
  static const Identity made = test::issue(
      authority(),
      {.subject = "other.example", .names = {"DNS:other.example", "DNS:*.wild.example"}});
  return made;
}

Identity selfSignedLocalhost() {
  return test::selfSigned({.subject = "localhost", .names = {"DNS:localhost", "IP:127.0.0.1"}});
}

TlsOptions showing(const Identity& identity) {
  return {.key = identity.key, .cert = identity.cert};
}

TlsOptions clientTls(const std::string& serverName) {
  return {.ca = authority().cert, .serverName = serverName};
}

// --- sockets ---------------------------------------------------------------------------------------

Table shaking(Table table) {
  if (!table.handshake) table.handshake = [](Actor, bool, const Error&) {};
  return table;
}

Host verified(Stage& stage, Verified with) {
  if (!with.listening.tls) with.listening.tls = serverTls();
  if (!with.connecting.tls) with.connecting.tls = clientTls();
  const std::string client = "client" + with.suffix;
  const std::string server = "server" + with.suffix;
  const Host host = stage.listen(stage.complete(server, shaking(std::move(with.server))),
                                 std::move(with.listening));
  stage.join(client, stage.complete(client, shaking(std::move(with.client))),
             std::move(with.connecting));
  stage.awaits(client, "handshake");
  stage.awaits(server, "handshake");
  return host;
}

void connects(Stage& stage, const std::string& who, Table table, Connecting options) {
  stage.promise(who);
  static_cast<void>(stage.does(who, "connect()", [&] {
    return Result<Actor>(stage.connect(who, std::move(table), std::move(options)));
  }));
}

// --- facts -----------------------------------------------------------------------------------------

Json versionOf(Actor socket) {
  switch (socket.tls().version()) {
    case TlsVersion::tls12:
      return "TLSv1.2";
    case TlsVersion::tls13:
      return "TLSv1.3";
    case TlsVersion::unknown:
      break;
  }
  return nullptr;
}

Json cipherOf(Actor socket) {
  const std::string name = socket.tls().cipher();
  const Json shown = name.empty() ? Json() : Json(name);
  return {{"name", shown}, {"standardName", shown}, {"version", versionOf(socket)}};
}

Json protocolOf(Actor socket) {
  const std::string name = socket.tls().alpnProtocol();
  return name.empty() ? Json(false) : Json(name);
}

Json nameOf(Actor socket) {
  const std::string name = socket.tls().serverName();
  return name.empty() ? "undefined" : name;
}

Json commonName(const std::vector<Certificate>& chain) {
  if (chain.empty()) return "undefined";
  const std::string& subject = chain.front().subject;
  const size_t at = subject.find("CN=") + 3;
  return subject.substr(at, subject.find(',', at) - at);
}

// --- the relay -------------------------------------------------------------------------------------

void Relay::take() {
  toClient = listening_.accept();
  toServer = test::RawSocket::connectTcp(static_cast<uint16_t>(stage_.host().port()));
}

void Relay::carry(test::RawSocket& from, test::RawSocket& to) {
  const std::string bytes = from.readSome();
  if (!bytes.empty()) to.sendAll(bytes);
}

void Relay::carry() {
  carry(toClient, toServer);
  carry(toServer, toClient);
}

void Relay::until(const std::function<bool()>& condition) {
  stage_.until([&] {
    carry();
    return condition();
  });
}

}  // namespace warren::conformance
