#include "tls/session.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "tls/callbacks.h"
#include "tls/credentials_impl.h"
#include "tls/failure.h"
#include "tls/roots.h"
#include "tls/session_cache.h"
#include "tls/verify.h"

namespace warren::tls {
namespace {

constexpr size_t kLargestWrite = size_t{1} << 30;
// Around each record: header, type, tag and, before TLS 1.3, an explicit nonce or an IV and padding.
constexpr size_t kRecordOverhead = 80;

}  // namespace

// A call into BoringSSL: lends it the input, and is whom it calls back. BoringSSL empties its queue of errors
// at the start of each; what fails empties it as well, so that nobody else finds errors of ours.
class Session::Call {
 public:
  Call(Session& session, Bytes* input) : transport_(session.transport()) {
    WARREN_CHECK(transport_.running_ == nullptr);
    transport_.running_ = &session;
    transport_.input_ = input;
    transport_.failed_ = false;
  }
  ~Call() {
    WARREN_DCHECK(ERR_peek_error() == 0);
    transport_.running_ = nullptr;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  Transport& transport_;
};

void Session::Free::operator()(ssl_st* ssl) const { SSL_free(ssl); }
void Session::Free::operator()(ssl_session_st* session) const { SSL_SESSION_free(session); }

Session::Session(std::shared_ptr<const Credentials> credentials)
    : credentials_(std::move(credentials)),
      fragment_(static_cast<uint16_t>(credentials_->maxSendFragment)),
      requestCert_(credentials_->requestCert),
      rejectUnauthorized_(credentials_->rejectUnauthorized) {}

Session::~Session() = default;
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;

bool Session::isClient() const { return credentials_->role == Role::client; }

Transport& Session::transport() const {
  return *static_cast<Transport*>(BIO_get_data(SSL_get_rbio(ssl_.get())));
}

Session::Aside& Session::aside() {
  if (aside_ == nullptr) aside_ = std::make_unique<Aside>();
  return *aside_;
}

const Error& Session::error() const {
  static const Error none;
  return aside_ != nullptr ? aside_->error : none;
}

// --- making one --------------------------------------------------------------------------------

Result<std::string> Session::expectedHost(const Credentials& credentials, const std::string& host) {
  const std::string& asked = credentials.serverName.empty() ? host : credentials.serverName;
  std::string expected = canonicalHost(asked);
  if (expected.empty() && credentials.rejectUnauthorized) {
    return Error(Usage::missing, Step::options,
                 "tls.serverName is required where no host is dialed: whom else to verify?");
  }
  if (expected.size() > 255 || expected.find('\0') != std::string::npos) {
    return Error(Usage::invalid, Step::options, "\"" + expected + "\" is no name to ask for");
  }
  return expected;
}

Result<Session> Session::client(std::shared_ptr<const Credentials> credentials,
                                const std::string& host, Transport& transport) {
  WARREN_CHECK(credentials != nullptr && credentials->role == Role::client);
  Result<std::string> expected = expectedHost(*credentials, host);
  if (!expected) return expected.error();
  Session session(std::move(credentials));
  session.aside().host = std::move(*expected);
  const ErrorScope scope;
  const bool started = session.start(transport) && session.startClient();
  if (started) session.offerCached();
  ErrorScope::forget();
  if (!started) return outOfMemory(Step::handshake);
  return session;
}

Result<Session> Session::server(std::shared_ptr<const ServerPolicy> policy, Transport& transport) {
  WARREN_CHECK(policy != nullptr && policy->fallback != nullptr);
  WARREN_CHECK(policy->fallback->role == Role::server);
  Session session(policy->fallback);
  session.aside().policy = std::move(policy);
  const ErrorScope scope;
  const bool started = session.start(transport);
  ErrorScope::forget();
  if (!started) return outOfMemory(Step::handshake);
  SSL_set_accept_state(session.ssl_.get());
  return session;
}

bool Session::start(Transport& transport) {
  SSL* const ssl = SSL_new(credentials_->context.get());
  if (ssl == nullptr) return false;  // one that was there before stays for questions
  ssl_.reset(ssl);
  BIO* const bio = transport.bio();
  if (bio == nullptr) return false;
  BIO_up_ref(bio);
  SSL_set_bio(ssl, bio, bio);             // takes one reference for both
  SSL_set_shed_handshake_config(ssl, 1);  // what only the handshake needs goes with it
  return credentials_->apply(ssl) && applyVerifyMode();
}

// The credentials of the name that the client has asked for.
bool Session::follow(const std::shared_ptr<const Credentials>& chosen) {
  if (chosen == credentials_) return true;
  if (SSL_set_SSL_CTX(ssl_.get(), chosen->context.get()) == nullptr) return false;
  credentials_ = chosen;
  if (!ownFragment_) fragment_ = static_cast<uint16_t>(chosen->maxSendFragment);
  if (!ownVerifyMode_) {
    requestCert_ = chosen->requestCert;
    rejectUnauthorized_ = chosen->rejectUnauthorized;
  }
  return chosen->apply(ssl_.get()) && applyVerifyMode();
}

// verifyChain decides what comes of it.
bool Session::applyVerifyMode() {
  const int insist = !isClient() && rejectUnauthorized_ ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_set_verify(ssl_.get(), verifies() ? SSL_VERIFY_PEER | insist : SSL_VERIFY_NONE, nullptr);
  if (!verifies() || credentials_->trustsSome) return true;
  X509_STORE* const roots = systemRoots().store.get();
  return roots != nullptr && SSL_set1_verify_cert_store(ssl_.get(), roots) == 1;
}

bool Session::startClient() {
  SSL_set_connect_state(ssl_.get());
  const std::string& host = aside_->host;
  if (!setScope(host)) return false;
  if (host.empty()) return true;
  if (!expectHost(ssl_.get(), host)) return false;
  // RFC 6066, 3: literal addresses are not asked for.
  return isAddress(host) || SSL_set_tlsext_host_name(ssl_.get(), host.c_str()) == 1;
}

void Session::offerCached() {
  if (!credentials_->cacheSessions) return;
  size_t size = 0;
  const uint8_t* const scope = SSL_get0_session_id_context(ssl_.get(), &size);
  const bssl::UniquePtr<SSL_SESSION> known =
      SessionCache::ofProcess().take(cacheKey(textOf(scope, size)));
  if (known) SSL_set_session(ssl_.get(), known.get());
}

// Sessions carry the client's own certificate with them, so they are not for one who shows another; nor for
// one who would not ask for their version or cipher.
std::string Session::cacheKey(std::string_view scope) const {
  SHA256_CTX sum;
  SHA256_Init(&sum);
  SHA256_Update(&sum, scope.data(), scope.size());
  for (const Pair& pair : credentials_->pairs) {
    const CRYPTO_BUFFER* const leaf = pair.chain.front().get();
    SHA256_Update(&sum, CRYPTO_BUFFER_data(leaf), CRYPTO_BUFFER_len(leaf));
  }
  const TlsVersion versions[] = {credentials_->minVersion, credentials_->maxVersion};
  SHA256_Update(&sum, versions, sizeof versions);
  SHA256_Update(&sum, credentials_->ciphers.data(), credentials_->ciphers.size());
  uint8_t key[SHA256_DIGEST_LENGTH];
  SHA256_Final(key, &sum);
  return std::string(textOf(key, sizeof key));
}

// Ties the sessions to this name under this trust: others are not resumed but shaken anew.
bool Session::setScope(const std::string& name) {
  SHA256_CTX sum;
  SessionScope scope;
  SHA256_Init(&sum);
  SHA256_Update(&sum, credentials_->scope.data(), credentials_->scope.size());
  const uint8_t mode[] = {requestCert_, rejectUnauthorized_};
  SHA256_Update(&sum, mode, sizeof mode);
  SHA256_Update(&sum, name.data(), name.size());
  SHA256_Final(scope.data(), &sum);
  return SSL_set_session_id_context(ssl_.get(), scope.data(), scope.size()) == 1;
}

// --- receiving ---------------------------------------------------------------------------------

Session::Received Session::receive(Bytes& input, std::span<std::byte> into) {
  WARREN_CHECK(!into.empty());
  if (drained_ && input.empty()) return {State::more};
  Received received{State::failed};
  if (!failed_) {
    const Call call(*this, &input);
    received = ready_ ? read(into) : handshake();
  }
  if (received.state == State::more) WARREN_CHECK(input.empty());
  // Nothing that comes after the end or a failure means anything.
  if (received.state == State::ended || received.state == State::failed) input = {};
  return received;
}

Session::Received Session::handshake() {
  started_ = true;
  const int returned = SSL_do_handshake(ssl_.get());
  const Received received = returned == 1 ? becomeReady() : outcome(returned);
  ErrorScope::forget();  // certificates leave some that are no failure
  return received;
}

Session::Received Session::becomeReady() {
  if (SSL_session_reused(ssl_.get()) && verifies() &&
      SSL_get0_peer_certificates(ssl_.get()) != nullptr) {
    // The certificate was not looked at again: what was found then is kept with the session.
    const long code = SSL_get_verify_result(ssl_.get());
    aside().verdict = std::make_unique<Verdict>(Verdict{static_cast<int>(code), {}});
    if (code != X509_V_OK && rejectUnauthorized_) {
      SSL_send_fatal_alert(ssl_.get(), SSL_AD_BAD_CERTIFICATE);
      return fail(verifyError(*verdict()));
    }
  }
  ready_ = true;
  // TLS 1.2 may go on with the same ticket, and then there is no new one.
  if (isClient() && aside().latest == nullptr && SSL_version(ssl_.get()) < TLS1_3_VERSION) {
    aside().latest.reset(SSL_get1_session(ssl_.get()));
  }
  if (!limitRecords()) return fail(outOfMemory(Step::handshake));
  if (!isClient() && verdict() == nullptr) aside_.reset();
  return {State::ready};
}

// A record that was the last of the input is all there is: no further call is needed to find that out.
Session::Received Session::read(std::span<std::byte> into) {
  const Transport& transport = this->transport();
  size_t plain = 0;
  int returned = 1;
  drained_ = false;
  while (plain < into.size() && returned > 0 && !drained_) {
    const size_t room = std::min(into.size() - plain, kLargestWrite);
    returned = SSL_read(ssl_.get(), into.data() + plain, static_cast<int>(room));
    if (returned <= 0) break;
    plain += static_cast<size_t>(returned);
    drained_ = transport.input_->empty() && SSL_has_pending(ssl_.get()) == 0;
  }
  if (returned > 0) return {State::plaintext, plain};
  const Received rest = outcome(returned);
  drained_ = rest.state == State::more;
  if (plain == 0) return rest;
  // The next call tells how it ended, if it did; a failure is kept for that, since who sends in between
  // would have BoringSSL forget the reason.
  ErrorScope::forget();
  return {State::plaintext, plain};
}

Session::Received Session::outcome(int returned) {
  const int why = transport().failed_ ? SSL_ERROR_SYSCALL : SSL_get_error(ssl_.get(), returned);
  if (why == SSL_ERROR_WANT_READ) return {State::more};
  if (why == SSL_ERROR_ZERO_RETURN && ready_) return {State::ended};
  return fail(failure());
}

Session::Received Session::fail(Error error) {
  WARREN_CHECK(error);
  failed_ = true;
  aside().error = std::move(error);
  aside_->latest.reset();
  ErrorScope::forget();
  return {State::failed};
}

Error Session::failure() const {
  const Step step = ready_ ? Step::read : Step::handshake;
  const uint32_t error = ErrorScope::takeTls();
  if (transport().failed_)
    return {Origin::kernel, ENOMEM, step, "no memory for what TLS has to send"};
  if (error == 0) return alertError(SSL_AD_CLOSE_NOTIFY, step);  // where it is no proper end
  const bool unverified =
      ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
  if (unverified && verdict() != nullptr && verdict()->code != X509_V_OK) {
    return verifyError(*verdict());
  }
  return errorOf(error, step);
}

bool Session::pending() const { return !failed_ && SSL_pending(ssl_.get()) > 0; }

// --- sending -----------------------------------------------------------------------------------

Result<size_t> Session::send(Bytes plain) {
  WARREN_CHECK(ready_);
  if (failed_) return error();
  if (closed_) return Error(Usage::ended, Step::write, "our side of TLS is closed");
  const size_t records = plain.size() / 512 + 2;  // at least: a fragment is not smaller
  base::RingBuffer& output = transport().output();
  if (plain.size() > kLargestWrite ||
      !output.reserve(output.size() + plain.size() + records * kRecordOverhead)) {
    return size_t{0};
  }
  const Call call(*this, nullptr);
  const size_t quick = fragment_ > kQuickRecord ? std::min<size_t>(plain.size(), quickLeft_) : 0;
  if (quick > 0) {
    if (!seal(plain.first(quick))) return error();
    quickLeft_ = static_cast<uint16_t>(quickLeft_ - quick);
    if (quickLeft_ == 0) limitRecords();
  }
  if (quick < plain.size() && !seal(plain.subspan(quick))) return error();
  return plain.size();
}

// Not an empty one: to BoringSSL that is an error.
bool Session::seal(Bytes plain) {
  const int taken = SSL_write(ssl_.get(), plain.data(), static_cast<int>(plain.size()));
  if (taken <= 0) {
    fail(failure());
    return false;
  }
  WARREN_CHECK(static_cast<size_t>(taken) == plain.size());
  return true;
}

bool Session::limitRecords() {
  const size_t longest = quickLeft_ > 0 ? std::min<size_t>(fragment_, kQuickRecord) : fragment_;
  return SSL_set_max_send_fragment(ssl_.get(), longest) == 1;
}

void Session::close() {
  if (!ready_ || closed_ || failed_) return;
  closed_ = true;
  const Call call(*this, nullptr);
  // Sends ours and waits for nothing: the peer's is a matter of `receive`.
  SSL_shutdown(ssl_.get());
  transport().failed_ ? static_cast<void>(fail(failure())) : ErrorScope::forget();
}

}  // namespace warren::tls
