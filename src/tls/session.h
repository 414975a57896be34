// Session: the TLS of one connection, as a transformation of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/credentials.h"
#include "tls/transport.h"
#include "warren/bytes.h"
#include "warren/result.h"
#include "warren/tls.h"

// BoringSSL's, whose headers stay in this floor's sources.
struct ssl_st;
struct ssl_session_st;

namespace warren::tls {

struct Verdict;

// Knows no descriptor, no clock and no callback of ours: ciphertext goes in and plaintext comes out,
// and the other way round, through the transport that was given.
//   owner   a connection
//   memory  no buffer of its own while idle, and nothing of what only the handshake needs
//   thread  the transport's
// Invariant: once it has failed it stays so, and touches neither input nor output.
class Session {
 public:
  // Whom a client must find: the option serverName or the host that was dialed, in its canonical form;
  // empty where there is neither and nobody is verified.
  //   errors  Usage::missing, Usage::invalid
  static Result<std::string> expectedHost(const Credentials& credentials, const std::string& host);
  // `host` is what was dialed: a name is asked for (SNI) and verified, an address is verified only.
  // Without a host, a server name in the options stands in for it.
  static Result<Session> client(std::shared_ptr<const Credentials> credentials,
                                const std::string& host, Transport& transport);
  static Result<Session> server(std::shared_ptr<const ServerPolicy> policy, Transport& transport);
  ~Session();
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;

  enum class State : uint8_t {
    more,       // wants more ciphertext
    plaintext,  // `plain` bytes were written; call again, with the same input
    ready,      // the handshake is done, told once; call again, with the same input
    ended,      // the peer's close_notify; what follows it is dropped
    failed,     // `error()` says why; an alert may have been appended to the output
  };
  struct Received {
    State state;
    size_t plain = 0;
  };

  // Takes from the front of `input` and writes plaintext to `into`, which is not empty. A client's
  // first call, with no input, begins the handshake. All of `input` is taken unless the state is
  // `plaintext` or `ready`.
  Received receive(Bytes& input, std::span<std::byte> into);

  // Plaintext is waiting inside, without any input: a call of `receive` gives it.
  bool pending() const;

  // Seals `plain` into records of up to 16 KiB. How many bytes were taken: all, or none when there is
  // no memory. Only once it is ready.
  //   errors  Usage::ended after `close`; what made the session fail
  Result<size_t> send(Bytes plain);

  // Appends our close_notify; once, and only if it is ready.
  void close();

  bool ready() const { return ready_; }
  // The options of the name that was asked for: a stream may end without close_notify.
  bool toleratesTruncation() const;
  // We have said for good that we send no more: by close_notify, or by the alert of a failure.
  bool alerted() const { return alerted_; }
  // What made it fail: Origin::tls with an alert, a verify code or a library reason; the name() of the
  // error is e.g. "CERT_HAS_EXPIRED" and the detail a sentence.
  const Error& error() const;

  // Facts; empty or unknown before they are known.
  bool authorized() const;           // the peer has shown a certificate, and it verifies
  Error authorizationError() const;  // verification's verdict, also when nobody insists on it
  std::string alpnProtocol() const;
  std::string serverName() const;
  TlsVersion version() const;
  std::string cipher() const;
  std::string keyExchange() const;  // the group: "X25519"
  bool resumed() const;
  std::vector<Certificate> peerCertificates() const;  // the peer's own first
  std::optional<Certificate> certificate() const;     // ours
  std::string session() const;  // to resume with later; empty until there is one
  std::string ticket() const;   // the server's part of it
  // What both ends can sign with: "ecdsa_secp256r1_sha256". Servers, and clients that were asked for a
  // certificate.
  std::vector<std::string> sharedSignatureAlgorithms() const;
  // Client, before the first receive. False if it is none, or not for this host and this trust.
  bool setSession(std::string_view session);
  // Client, before the first receive: another name to ask for and to verify. False otherwise, and for
  // what can be no name. Drops what setSession has set: sessions belong to a name.
  bool setServerName(std::string_view name);
  // Before the first receive: in the place of the options of these names. A client always asks. Drops what
  // setSession has set: sessions belong to a trust.
  bool setVerifyMode(bool requestCert, bool rejectUnauthorized);
  // 1..16384 bytes. A `context` whose data() is null is none, which TLS 1.2 tells from an empty one.
  Result<std::string> exportKeyingMaterial(size_t size, std::string_view label,
                                           std::string_view context) const;
  std::string finished() const;      // TLS 1.2 only
  std::string peerFinished() const;  // TLS 1.2 only
  // The longest record from now on, 512..16384. The first bytes go out in shorter ones.
  bool setMaxSendFragment(size_t bytes);

 private:
  // A record that fills one TCP segment can be opened when that segment is there. After the first round
  // trip there are several under way, and long records cost less.
  static constexpr size_t kQuickStart = size_t{10} * 1369;
  static constexpr size_t kQuickRecord = 1369;  // in IPv6 with timestamps, under TLS 1.2

  friend struct Callbacks;  // BoringSSL's way back in
  class Call;

  struct Free {
    void operator()(ssl_st* ssl) const;
    void operator()(ssl_session_st* session) const;
  };

  // What a session needs while it shakes hands. Servers drop it then, unless there was something to verify;
  // clients keep it.
  struct Aside {
    std::shared_ptr<const ServerPolicy> policy;    // server: whom the name chooses from
    std::string host;                              // client: whom we expect
    std::unique_ptr<ssl_session_st, Free> latest;  // client: what could be resumed
    std::unique_ptr<Verdict> verdict;  // null until the peer's certificate was looked at
    Error error;
  };

  explicit Session(std::shared_ptr<const Credentials> credentials);
  bool start(Transport& transport);
  bool startClient();
  bool follow(const std::shared_ptr<const Credentials>& chosen);
  bool applyVerifyMode();
  bool isClient() const;
  bool verifies() const { return isClient() || requestCert_; }
  void offerCached();
  std::string cacheKey(std::string_view scope) const;
  bool setScope(const std::string& name);
  bool inScope(const ssl_session_st* known) const;

  Received handshake();
  Received read(std::span<std::byte> into);
  Received outcome(int returned);
  Received becomeReady();
  bool seal(Bytes plain);
  bool limitRecords();
  Received fail(Error error);
  Error failure() const;
  Transport& transport() const;
  Aside& aside();
  const ssl_session_st* latest() const;  // null before the handshake is done
  const Verdict* verdict() const { return aside_ != nullptr ? aside_->verdict.get() : nullptr; }

  std::unique_ptr<ssl_st, Free> ssl_;
  std::shared_ptr<const Credentials> credentials_;  // the ones in force
  std::unique_ptr<Aside> aside_;
  uint16_t fragment_;                 // the longest record
  uint16_t quickLeft_ = kQuickStart;  // bytes still to go out in short records
  uint16_t signatures_ = 0;           // shared ones: bits, places in the table of them
  uint16_t shown_ = 0;                // which of our pairs, counted from 1; 0: none
  bool requestCert_ : 1;              // of the credentials in force, or set for this session
  bool rejectUnauthorized_ : 1;
  bool ownVerifyMode_ : 1 = false;
  bool started_ : 1 = false;
  bool ready_ : 1 = false;
  bool closed_ : 1 = false;
  bool failed_ : 1 = false;
  bool drained_ : 1 = false;  // nothing comes without more input
  bool alerted_ : 1 = false;
  bool seesEcdsa_ : 1 = true;  // server: what the client's TLS 1.2 ciphers can be signed with
  bool seesRsa_ : 1 = true;
  bool ownFragment_ : 1 = false;
  uint8_t curves_ = 0xff;  // server: kinds of keys that no curve of the client's rules out
};

static_assert(sizeof(Session) <= 48, "idle TLS sockets are many");

}  // namespace warren::tls
