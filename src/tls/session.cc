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
#include "tls/verify.h"

namespace warren::tls {
namespace {

constexpr size_t kLargestWrite = size_t{1} << 30;
// Around each record: header, type, tag and, before TLS 1.3, an explicit nonce or an IV and padding.
constexpr size_t kRecordOverhead = 80;

}  // namespace

// A call into BoringSSL: lends it the input, and keeps the error queue clean.
class Session::Call {
 public:
  Call(Session& session, Bytes* input) : session_(session) {
    WARREN_CHECK(session.input_ == nullptr);
    session_.input_ = input;
  }
  ~Call() {
    ErrorScope::forget();
    session_.input_ = nullptr;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  ErrorScope scope_;
  Session& session_;
};

void Session::Free::operator()(ssl_st* ssl) const { SSL_free(ssl); }
void Session::Free::operator()(ssl_session_st* session) const { SSL_SESSION_free(session); }

Session::Session(const Credentials& credentials, base::RingBuffer& output)
    : credentials_(&credentials),
      output_(&output),
      fragment_(static_cast<uint16_t>(credentials.maxSendFragment)),
      requestCert_(credentials.requestCert),
      rejectUnauthorized_(credentials.rejectUnauthorized) {}

Session::~Session() = default;

// --- making one --------------------------------------------------------------------------------

Result<std::unique_ptr<Session>> Session::client(std::shared_ptr<const Credentials> credentials,
                                                 const std::string& host,
                                                 base::RingBuffer& output) {
  WARREN_CHECK(credentials != nullptr && credentials->role == Role::client);
  const std::string& asked = credentials->serverName.empty() ? host : credentials->serverName;
  const std::string expected = canonicalHost(asked);
  if (expected.empty() && credentials->rejectUnauthorized) {
    return Error(Usage::missing, Step::handshake,
                 "serverName is required where no host is dialed: whom else to verify?");
  }
  if (expected.size() > 255 || expected.find('\0') != std::string::npos) {
    return Error(Usage::invalid, Step::handshake, "\"" + expected + "\" is no name to ask for");
  }
  std::unique_ptr<Session> session(new Session(*credentials, output));
  session->host_ = expected;
  session->own_ = std::move(credentials);
  const Call call(*session, nullptr);
  if (!session->start() || !session->startClient()) return outOfMemory(Step::handshake);
  session->offerCached();
  return session;
}

Result<std::unique_ptr<Session>> Session::server(std::shared_ptr<const ServerPolicy> policy,
                                                 base::RingBuffer& output) {
  WARREN_CHECK(policy != nullptr && policy->fallback != nullptr);
  WARREN_CHECK(policy->fallback->role == Role::server);
  std::unique_ptr<Session> session(new Session(*policy->fallback, output));
  session->policy_ = std::move(policy);
  const Call call(*session, nullptr);
  if (!session->start()) return outOfMemory(Step::handshake);
  SSL_set_accept_state(session->ssl_.get());
  return session;
}

bool Session::start() {
  SSL* const ssl = SSL_new(credentials_->context.get());
  ssl_.reset(ssl);
  if (ssl == nullptr) return false;
  bssl::UniquePtr<BIO> transport = Callbacks::transport(*this);
  if (!transport) return false;
  BIO* const bio = transport.release();
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, this);
  SSL_set_shed_handshake_config(ssl, 1);  // what only the handshake needs goes with it
  return credentials_->apply(ssl) && applyVerifyMode();
}

// The credentials of the name that the client has asked for.
bool Session::follow(const Credentials& chosen) {
  if (&chosen == credentials_) return true;
  if (SSL_set_SSL_CTX(ssl_.get(), chosen.context.get()) == nullptr) return false;
  credentials_ = &chosen;
  fragment_ = static_cast<uint16_t>(chosen.maxSendFragment);
  if (!ownVerifyMode_) {
    requestCert_ = chosen.requestCert;
    rejectUnauthorized_ = chosen.rejectUnauthorized;
  }
  return chosen.apply(ssl_.get()) && applyVerifyMode();
}

// verifyChain decides what comes of it.
bool Session::applyVerifyMode() {
  const int insist = own_ == nullptr && rejectUnauthorized_ ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_set_verify(ssl_.get(), verifies() ? SSL_VERIFY_PEER | insist : SSL_VERIFY_NONE, nullptr);
  if (!verifies() || credentials_->trustsSome) return true;
  X509_STORE* const roots = systemRoots().store.get();
  return roots != nullptr && SSL_set1_verify_cert_store(ssl_.get(), roots) == 1;
}

bool Session::startClient() {
  SSL_set_connect_state(ssl_.get());
  if (!setScope(host_)) return false;
  if (host_.empty()) return true;
  if (!expectHost(ssl_.get(), host_)) return false;
  // RFC 6066, 3: literal addresses are not asked for.
  return isAddress(host_) || SSL_set_tlsext_host_name(ssl_.get(), host_.c_str()) == 1;
}

void Session::offerCached() {
  if (!own_->cache) return;
  const bssl::UniquePtr<SSL_SESSION> known = own_->cache->take(host_);
  if (known) SSL_set_session(ssl_.get(), known.get());
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
  if (!error_) {
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
  return returned == 1 ? becomeReady() : outcome(returned);
}

Session::Received Session::becomeReady() {
  if (SSL_session_reused(ssl_.get()) && verifies() &&
      SSL_get0_peer_certificates(ssl_.get()) != nullptr) {
    // The certificate was not looked at again: what was found then is kept with the session.
    const long code = SSL_get_verify_result(ssl_.get());
    verdict_ = std::make_unique<Verdict>(Verdict{static_cast<int>(code), {}});
    if (code != X509_V_OK && rejectUnauthorized_) {
      SSL_send_fatal_alert(ssl_.get(), SSL_AD_BAD_CERTIFICATE);
      return fail(verifyError(*verdict_));
    }
  }
  ready_ = true;
  if (!limitRecords()) return fail(outOfMemory(Step::handshake));
  return {State::ready};
}

Session::Received Session::read(std::span<std::byte> into) {
  size_t plain = 0;
  int returned = 1;
  while (plain < into.size() && returned > 0) {
    const size_t room = std::min(into.size() - plain, kLargestWrite);
    returned = SSL_read(ssl_.get(), into.data() + plain, static_cast<int>(room));
    if (returned > 0) plain += static_cast<size_t>(returned);
  }
  drained_ = returned <= 0 && SSL_get_error(ssl_.get(), returned) == SSL_ERROR_WANT_READ;
  // How it ended, if it did, BoringSSL says again at the next call.
  if (plain > 0) return {State::plaintext, plain};
  return outcome(returned);
}

Session::Received Session::outcome(int returned) {
  const int why = outputFailed_ ? SSL_ERROR_SYSCALL : SSL_get_error(ssl_.get(), returned);
  if (why == SSL_ERROR_WANT_READ) return {State::more};
  if (why == SSL_ERROR_ZERO_RETURN && ready_) return {State::ended};
  return fail(failure());
}

Session::Received Session::fail(Error error) {
  WARREN_CHECK(error);
  error_ = std::move(error);
  latest_.reset();
  return {State::failed};
}

Error Session::failure() const {
  const Step step = ready_ ? Step::read : Step::handshake;
  const uint32_t error = ErrorScope::takeTls();
  if (outputFailed_) return {Origin::kernel, ENOMEM, step, "no memory for what TLS has to send"};
  if (error == 0) return alertError(SSL_AD_CLOSE_NOTIFY, step);  // where it is no proper end
  const bool unverified =
      ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
  if (unverified && verdict_ != nullptr && verdict_->code != X509_V_OK) {
    return verifyError(*verdict_);
  }
  return errorOf(error, step);
}

bool Session::pending() const { return !error_ && SSL_pending(ssl_.get()) > 0; }

// --- sending -----------------------------------------------------------------------------------

Result<size_t> Session::send(Bytes plain) {
  WARREN_CHECK(ready_);
  if (error_) return error_;
  if (closed_) return Error(Usage::ended, Step::write, "our side of TLS is closed");
  const size_t records = plain.size() / 512 + 2;  // at least: a fragment is not smaller
  if (plain.size() > kLargestWrite ||
      !output_->reserve(output_->size() + plain.size() + records * kRecordOverhead)) {
    return size_t{0};
  }
  const Call call(*this, nullptr);
  const size_t quick = fragment_ > kQuickRecord ? std::min<size_t>(plain.size(), quickLeft_) : 0;
  if (quick > 0) {
    if (!seal(plain.first(quick))) return error_;
    quickLeft_ = static_cast<uint16_t>(quickLeft_ - quick);
    if (quickLeft_ == 0) limitRecords();
  }
  if (quick < plain.size() && !seal(plain.subspan(quick))) return error_;
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
  if (!ready_ || closed_ || error_) return;
  closed_ = true;
  const Call call(*this, nullptr);
  // Sends ours and waits for nothing: the peer's is a matter of `receive`.
  SSL_shutdown(ssl_.get());
  if (outputFailed_) fail(failure());
}

}  // namespace warren::tls
