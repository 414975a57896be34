// TLS: what to show, whom to trust, and what the handshake has found out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "warren/bytes.h"
#include "warren/callback.h"
#include "warren/duration.h"

namespace warren {

// PEM text, or the file that has it.
struct Pem {
  Pem(const char* pem) : text(pem != nullptr ? pem : "") {}
  Pem(std::string pem, bool isPath = false) : text(std::move(pem)), inFile(isPath) {}

  std::string text;  // or the path
  bool inFile = false;
};

// The content of a file, read when the options are used: `.key = warren::file("key.pem")`.
inline Pem file(std::string path) { return {std::move(path), true}; }

// One or several PEM texts or files; each may hold several blocks.
class PemList {
 public:
  PemList() = default;
  PemList(Pem one) : given_(true) { pems_.push_back(std::move(one)); }
  PemList(const char* text) : PemList(Pem(text)) {}
  PemList(std::string text) : PemList(Pem(std::move(text))) {}
  PemList(Bytes text) : PemList(std::string(asText(text))) {}
  PemList(std::initializer_list<Pem> several) : pems_(several), given_(true) {}
  PemList(std::vector<Pem> several) : pems_(std::move(several)), given_(true) {}

  // Whether it was said at all: a list that turned out empty is refused, not taken for the default.
  bool given() const { return given_; }
  bool empty() const { return pems_.empty(); }
  auto begin() const { return pems_.begin(); }
  auto end() const { return pems_.end(); }

 private:
  std::vector<Pem> pems_;
  bool given_ = false;
};

enum class TlsVersion : uint16_t { unknown = 0, tls12 = 0x0303, tls13 = 0x0304 };

// The options of both ends; what is for one end only says so.
struct TlsOptions {
  // Private keys and certificate chains, in any order: they are matched by their public keys. Several
  // pairs must be of different types (RSA, P-256, Ed25519); the peer gets the first one it can verify.
  // A listener needs a pair; a client shows one when asked.
  PemList key{};
  PemList cert{};
  std::string passphrase{};  // of all keys that are encrypted
  // Whom to trust, in place of the system's roots. Those are read once for the process: from where the
  // system has them, or from SSL_CERT_FILE and SSL_CERT_DIR instead.
  PemList ca{};
  // What was revoked. With any list, each certificate of a chain needs one of its issuer: beside the
  // system's roots, a single list fails all peers whose issuers are others.
  PemList crl{};
  // Client: the name asked for and verified, in place of the host that is dialed. Needed where none is
  // dialed (`unix`, `fd`), unless rejectUnauthorized is off.
  std::string serverName{};
  // Application protocols, the best first: {"h2", "http/1.1"}.
  std::vector<std::string> alpn{};
  // Server: ask for a certificate of the client.
  bool requestCert = false;
  // Refuse a peer whose certificate does not verify. Servers verify only if they ask. RSA keys of fewer than
  // 2048 bits and signatures with MD5 or SHA-1 do not verify, nor does a peer that nobody has named.
  bool rejectUnauthorized = true;
  TlsVersion minVersion = TlsVersion::tls12;
  TlsVersion maxVersion = TlsVersion::tls13;
  // TLS 1.2 ciphers in OpenSSL's notation (those of TLS 1.3 are fixed), and key exchange groups, the
  // best first: {"X25519", "P-256"}. The server's order decides, also when it is the default's. By
  // default all have forward secrecy.
  std::string ciphers{};
  std::vector<std::string> curves{};
  // Server: resumption by tickets, and the keys that seal them, 48 bytes each (16 name, 16 HMAC, 16
  // AES): the first one seals, all of them open. Other processes that have them resume too. Without
  // keys the process has its own, the same for all its listeners, and changes them every day. A listener
  // with several names uses those of its fallback.
  bool sessionTickets = true;
  std::vector<std::string> ticketKeys{};
  // From the TCP connection, or the end of its PROXY header, to the end of the handshake; zero: no limit.
  Duration handshakeTimeout = std::chrono::seconds(10);
  // Server: handshakes of one listener under way at a time. Beyond it, connections wait in the kernel's
  // queue, and clients that keep their handshakes waiting for a tenth of handshakeTimeout, or up to two,
  // fail as at its end: silent ones keep nobody out for long. 0: no limit. How many go on in a turn is
  // ReactorOptions::handshakeBudget. Not for what upgradeTls begins.
  size_t maxHandshakes = 4096;
  // Gets lines in the form of SSLKEYLOGFILE, on the thread of the connection. Must not throw, nor
  // call any socket. Whoever has the lines reads the traffic.
  Callback<std::string_view> keylog{};
  size_t maxSendFragment = 16384;  // 512..16384
  size_t maxCertificateChain = size_t{100}
                               << 10;  // bytes taken from the peer, from 16 KiB to below 16 MiB
  std::string ocspResponse{};          // server: DER, stapled where the first pair is shown
  bool tolerateTruncation = false;     // a FIN without close_notify is an end like any other
  // Client: resume the last session with the same host, trust and own certificate, of any socket of
  // this process. It keeps those of 256 hosts; the one that was not used for longest goes.
  bool cacheSessions = false;
  // Client: resume this one, of TlsFacts::session. One of another name or trust fails the handshake.
  std::string session{};
};

// The option `tls`: nothing, `true` for a client with the defaults, or options.
class TlsSetting {
 public:
  TlsSetting() = default;
  TlsSetting(bool on) {
    if (on) options_.emplace();
  }
  TlsSetting(TlsOptions options) : options_(std::move(options)) {}

  explicit operator bool() const { return options_.has_value(); }
  const TlsOptions& operator*() const { return *options_; }
  const TlsOptions* operator->() const { return &*options_; }

 private:
  std::optional<TlsOptions> options_;
};

// A certificate in words.
struct Certificate {
  std::string subject{};  // RFC 2253: "CN=example.com,O=..."
  std::string issuer{};
  std::string serial{};              // hexadecimal
  std::vector<std::string> names{};  // subject alternative names: "DNS:example.com", "IP:127.0.0.1"
  int64_t notBefore = 0;             // seconds since 1970
  int64_t notAfter = 0;
  std::string fingerprint{};  // SHA-256 of the DER, hexadecimal
  std::string der{};
};

}  // namespace warren
