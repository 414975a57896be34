// What a session knows of its connection.
#include <openssl/pool.h>

#include <algorithm>
#include <utility>

#include "tls/certificate.h"
#include "tls/credentials_impl.h"
#include "tls/failure.h"
#include "tls/session.h"
#include "tls/verify.h"

namespace warren::tls {
namespace {

constexpr size_t kMostExported = 16384;

using Finished = size_t (*)(const SSL*, void*, size_t);

std::string finishedOf(const SSL* ssl, Finished read) {
  uint8_t buffer[EVP_MAX_MD_SIZE];
  const size_t size = read(ssl, buffer, sizeof buffer);
  return std::string(textOf(buffer, std::min(size, sizeof buffer)));
}

}  // namespace

bool Session::authorized() const {
  return ready_ && verdict() != nullptr && verdict()->code == X509_V_OK;
}

Error Session::authorizationError() const {
  if (verdict() != nullptr) return verifyError(*verdict());
  const bool shown = !ready_ || !verifies();
  if (shown) return {};
  return reasonError(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, Step::handshake);
}

bool Session::toleratesTruncation() const { return credentials_->tolerateTruncation; }

std::string Session::alpnProtocol() const {
  const uint8_t* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return std::string(textOf(name, size));
}

std::string Session::serverName() const {
  if (isClient()) return isAddress(aside_->host) ? std::string() : aside_->host;
  const char* const name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : std::string();
}

TlsVersion Session::version() const {
  if (!ready_) return TlsVersion::unknown;
  return static_cast<TlsVersion>(SSL_version(ssl_.get()));
}

std::string Session::cipher() const {
  const SSL_CIPHER* const cipher = ready_ ? SSL_get_current_cipher(ssl_.get()) : nullptr;
  return cipher != nullptr ? SSL_CIPHER_standard_name(cipher) : std::string();
}

std::string Session::keyExchange() const {
  const char* const name = ready_ ? SSL_get_curve_name(SSL_get_curve_id(ssl_.get())) : nullptr;
  return name != nullptr ? name : std::string();
}

bool Session::resumed() const { return ready_ && SSL_session_reused(ssl_.get()) != 0; }

std::vector<Certificate> Session::peerCertificates() const {
  std::vector<Certificate> certificates;
  const STACK_OF(CRYPTO_BUFFER)* const chain = SSL_get0_peer_certificates(ssl_.get());
  // Before this peer has proved itself they may be those of a session that is only offered.
  if (chain == nullptr || verdict() == nullptr) return certificates;
  const ErrorScope scope;
  for (size_t index = 0; index < sk_CRYPTO_BUFFER_num(chain); ++index) {
    certificates.push_back(describe(sk_CRYPTO_BUFFER_value(chain, index)));
  }
  return certificates;
}

std::optional<Certificate> Session::certificate() const {
  if (shown_ == 0) return std::nullopt;
  const ErrorScope scope;
  return describe(credentials_->pairs[shown_ - 1].chain.front().get());
}

std::vector<std::string> Session::sharedSignatureAlgorithms() const {
  std::vector<std::string> names;
  for (size_t place = 0; place < std::size(kSignatures) && !resumed(); ++place) {
    if ((signatures_ >> place & 1) == 0) continue;
    const char* const name = SSL_get_signature_algorithm_name(kSignatures[place], 1);
    if (name != nullptr) names.emplace_back(name);
  }
  return names;
}

// --- resumption --------------------------------------------------------------------------------

const ssl_session_st* Session::latest() const {
  return ready_ && aside_ != nullptr ? aside_->latest.get() : nullptr;
}

std::string Session::session() const {
  const SSL_SESSION* const latest = this->latest();
  if (latest == nullptr || !SSL_SESSION_is_resumable(latest)) return {};
  const ErrorScope scope;
  uint8_t* data = nullptr;
  size_t size = 0;
  if (!SSL_SESSION_to_bytes(latest, &data, &size)) {
    ErrorScope::forget();
    return {};
  }
  const bssl::UniquePtr<uint8_t> owned(data);
  return std::string(textOf(data, size));
}

std::string Session::ticket() const {
  const SSL_SESSION* const latest = this->latest();
  if (latest == nullptr) return {};
  const uint8_t* data = nullptr;
  size_t size = 0;
  SSL_SESSION_get0_ticket(latest, &data, &size);
  return std::string(textOf(data, size));
}

// Whether it was made under the same name and trust.
bool Session::inScope(const ssl_session_st* known) const {
  size_t size = 0;
  unsigned knownSize = 0;
  const uint8_t* const scope = SSL_get0_session_id_context(ssl_.get(), &size);
  const uint8_t* const knownScope = SSL_SESSION_get0_id_context(known, &knownSize);
  return textOf(scope, size) == textOf(knownScope, knownSize);
}

bool Session::setSession(std::string_view bytes) {
  if (!isClient() || started_ || failed_) return false;
  const ErrorScope scope;
  const bssl::UniquePtr<SSL_SESSION> known(
      SSL_SESSION_from_bytes(octets(bytes), bytes.size(), credentials_->context.get()));
  ErrorScope::forget();
  if (!known || !inScope(known.get())) return false;
  return SSL_set_session(ssl_.get(), known.get()) == 1;
}

// --- channel binding ---------------------------------------------------------------------------

Result<std::string> Session::exportKeyingMaterial(size_t size, std::string_view label,
                                                  std::string_view context) const {
  if (!ready_) {
    return Error(Usage::invalid, Step::handshake,
                 "no keying material before the handshake is done");
  }
  if (size < 1 || size > kMostExported) {
    return Error(Usage::outOfRange, Step::options,
                 "keying material of " + std::to_string(size) + " bytes is outside 1..16384");
  }
  const ErrorScope scope;
  std::string material(size, '\0');
  const bool done =
      SSL_export_keying_material(ssl_.get(), reinterpret_cast<uint8_t*>(material.data()), size,
                                 label.data(), label.size(), octets(context), context.size(),
                                 context.data() != nullptr) == 1;
  const uint32_t error = ErrorScope::take();
  if (done) return material;
  return errorOf(error, Step::handshake);
}

std::string Session::finished() const {
  return ready_ ? finishedOf(ssl_.get(), SSL_get_finished) : std::string();
}

std::string Session::peerFinished() const {
  return ready_ ? finishedOf(ssl_.get(), SSL_get_peer_finished) : std::string();
}

bool Session::setMaxSendFragment(size_t bytes) {
  if (bytes < 512 || bytes > 16384) return false;
  ownFragment_ = true;
  fragment_ = static_cast<uint16_t>(bytes);
  const ErrorScope scope;
  const bool done = limitRecords();
  ErrorScope::forget();
  return done;
}

// --- before the handshake ------------------------------------------------------------------------

bool Session::setServerName(std::string_view name) {
  std::string expected = canonicalHost(std::string(name));
  const bool possible =
      !expected.empty() && expected.size() <= 255 && expected.find('\0') == std::string::npos;
  if (!isClient() || started_ || failed_ || !possible) return false;
  aside_->host = std::move(expected);
  Transport& transport = this->transport();
  const ErrorScope scope;
  // Another one: BoringSSL does not unlearn whom to expect.
  const bool done = start(transport) && startClient();
  if (done) offerCached();
  ErrorScope::forget();
  if (!done) fail(outOfMemory(Step::handshake));
  return done;
}

bool Session::setVerifyMode(bool requestCert, bool rejectUnauthorized) {
  const bool nobody = isClient() && aside_->host.empty() && rejectUnauthorized;  // to verify
  if (started_ || failed_ || nobody) return false;
  ownVerifyMode_ = true;
  requestCert_ = requestCert;
  rejectUnauthorized_ = rejectUnauthorized;
  const ErrorScope scope;
  bool done = applyVerifyMode();
  if (done && isClient()) {
    done = setScope(aside_->host);
    SSL_set_session(ssl_.get(), nullptr);
    offerCached();
  }
  ErrorScope::forget();
  return done;
}

}  // namespace warren::tls
