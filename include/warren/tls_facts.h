// What a TLS socket knows of its session.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "warren/result.h"
#include "warren/socket.h"
#include "warren/tls.h"

namespace warren {

// A view of a socket's TLS: `socket.tls()`. On plain sockets it is false and its facts are empty,
// and so it becomes after `close`, once nothing is left to deliver. Facts of the handshake are empty before
// it is done.
class TlsFacts {
 public:
  TlsFacts() = default;

  explicit operator bool() const;

  // The peer's certificate verifies; and if it does not, why, also where nobody insists on it.
  bool authorized() const;
  Error authorizationError() const;
  // The protocol agreed on, "" without one; the name the client asked for.
  std::string alpnProtocol() const;
  std::string serverName() const;
  TlsVersion version() const;
  std::string cipher() const;
  std::string keyExchange() const;  // "X25519"
  bool resumed() const;

  // The peer's chain, its own certificate first, and ours.
  std::vector<Certificate> peerCertificates() const;
  std::optional<Certificate> certificate() const;

  // What a client resumes with later; empty until there is one, with TLS 1.3 after the first data. And
  // the server's ticket in it.
  std::string session() const;
  std::string ticket() const;
  // What both ends can sign with: "ecdsa_secp256r1_sha256". Servers, and clients that were asked for a
  // certificate; empty when it was resumed.
  std::vector<std::string> sharedSignatureAlgorithms() const;
  // RFC 5705.
  //   unit    bytes, 1..16384
  //   errors  Usage::invalid before the handshake, Usage::outOfRange for the size, Usage::closed on a
  //           plain or closed socket, Usage::unsupported in builds without TLS; Origin::tls
  Result<std::string> exportKeyingMaterial(size_t size, std::string_view label,
                                           std::string_view context = {}) const;
  // The finished messages of either end: TLS 1.2 only, empty otherwise. 1.3 has the exporter.
  std::string finished() const;
  std::string peerFinished() const;
  // The longest record from now on, 512..16384. False for other sizes.
  bool setMaxSendFragment(size_t bytes) const;

  // In `open`, before the `handshake` handler, or right after upgradeTls: in the place of the options.
  // False once the handshake has begun, on the other side (setVerifyMode is for both), and for what
  // makes no sense.
  // Client: the name to ask for and to verify; then the session to resume, which belongs to a name and
  // a trust. So setServerName drops a session that was given, and a client's setVerifyMode too.
  bool setServerName(std::string_view name) const;
  bool setSession(std::string_view session) const;
  // Server: whether to ask for a certificate, verified by the option `ca` or the system's roots. Both:
  // whether to refuse a peer whose certificate does not verify, or who shows none when asked.
  bool setVerifyMode(bool requestCert, bool rejectUnauthorized) const;

 private:
  friend class SocketHandle;
  explicit TlsFacts(detail::SocketId id) : id_(id) {}

  detail::SocketId id_;
};

}  // namespace warren
