#include "tls/callbacks.h"

#include <openssl/cipher.h>
#include <openssl/digest.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <span>
#include <utility>

#include "tls/credentials_impl.h"
#include "tls/session_cache.h"

namespace warren::tls {
namespace {

const BIO_METHOD* transportMethod(int (*read)(BIO*, char*, int),
                                  int (*write)(BIO*, const char*, int)) {
  bssl::UniquePtr<BIO_METHOD> method(BIO_meth_new(BIO_get_new_index(), "warren"));
  if (!method) return nullptr;
  BIO_meth_set_read(method.get(), read);
  BIO_meth_set_write(method.get(), write);
  // The one question BoringSSL asks is to flush, which there is nothing to do for.
  BIO_meth_set_ctrl(method.get(),
                    [](BIO*, int what, long, void*) { return what == BIO_CTRL_FLUSH ? 1L : 0L; });
  return method.release();
}

// Whether a key of this kind can make the signature that TLS calls `algorithm`.
bool signs(KeyKind kind, uint16_t algorithm, bool tls13) {
  switch (algorithm) {
    case SSL_SIGN_RSA_PSS_RSAE_SHA256:
    case SSL_SIGN_RSA_PSS_RSAE_SHA384:
    case SSL_SIGN_RSA_PSS_RSAE_SHA512:
      return kind == KeyKind::rsa;
    case SSL_SIGN_RSA_PKCS1_SHA256:
    case SSL_SIGN_RSA_PKCS1_SHA384:
    case SSL_SIGN_RSA_PKCS1_SHA512:
      return kind == KeyKind::rsa && !tls13;
    case SSL_SIGN_ED25519:
      return kind == KeyKind::ed25519;
    default:
      break;
  }
  // In TLS 1.3 an algorithm names the curve as well; before, any curve goes with any digest.
  const bool ecdsa = algorithm == SSL_SIGN_ECDSA_SECP256R1_SHA256 ||
                     algorithm == SSL_SIGN_ECDSA_SECP384R1_SHA384 ||
                     algorithm == SSL_SIGN_ECDSA_SECP521R1_SHA512;
  if (!ecdsa || kind == KeyKind::rsa || kind == KeyKind::ed25519) return false;
  if (!tls13) return true;
  return (kind == KeyKind::p256 && algorithm == SSL_SIGN_ECDSA_SECP256R1_SHA256) ||
         (kind == KeyKind::p384 && algorithm == SSL_SIGN_ECDSA_SECP384R1_SHA384) ||
         (kind == KeyKind::p521 && algorithm == SSL_SIGN_ECDSA_SECP521R1_SHA512);
}

// Those of the peer's algorithms that one of our keys can do, as bits: places in kSignatures.
uint16_t shared(const std::vector<Pair>& pairs, std::span<const uint16_t> peers, bool tls13) {
  static_assert(std::size(kSignatures) <= 16);
  uint16_t bits = 0;
  for (size_t place = 0; place < std::size(kSignatures); ++place) {
    const uint16_t algorithm = kSignatures[place];
    const bool ours = std::any_of(pairs.begin(), pairs.end(), [&](const Pair& pair) {
      return signs(pair.kind, algorithm, tls13);
    });
    const bool both = ours && std::find(peers.begin(), peers.end(), algorithm) != peers.end();
    if (both) bits = static_cast<uint16_t>(bits | 1u << place);
  }
  return bits;
}

// Leaving the name out must not be a way around a name that insists on a certificate.
bool evades(const ServerPolicy& policy) {
  const auto insists = [](const Credentials& credentials) {
    return credentials.requestCert && credentials.rejectUnauthorized;
  };
  return !insists(*policy.fallback) &&
         std::any_of(policy.named.begin(), policy.named.end(),
                     [&](const ServerPolicy::Named& one) { return insists(*one.credentials); });
}

// By a client, of a server; empty if it did not.
std::string askedName(const SSL* ssl) {
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

bool setPair(SSL* ssl, const Pair& pair) {
  const std::vector<CRYPTO_BUFFER*> chain = pair.buffers();
  return SSL_set_chain_and_key(ssl, chain.data(), chain.size(), pair.key.get(), nullptr) == 1;
}

bool staple(SSL* ssl, const Credentials& credentials) {
  const std::string& response = credentials.ocspResponse;
  return response.empty() || SSL_set_ocsp_response(ssl, octets(response), response.size()) != 0;
}

// Kinds of keys as bits.
constexpr uint8_t bitOf(KeyKind kind) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(kind));
}

// By its number in TLS.
int groupOf(KeyKind kind) {
  return kind == KeyKind::p256   ? SSL_CURVE_SECP256R1
         : kind == KeyKind::p384 ? SSL_CURVE_SECP384R1
                                 : SSL_CURVE_SECP521R1;
}

}  // namespace

void Callbacks::install(SSL_CTX* context, const Credentials& credentials) {
  SSL_CTX_set_cert_cb(context, choosePair, nullptr);
  SSL_CTX_set_info_callback(context, noteAlert);
  if (credentials.keylog) SSL_CTX_set_keylog_callback(context, logKeys);
  if (credentials.role == Role::client) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keepSession);
    return;
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_select_certificate_cb(context, chooseCredentials);
  if (!credentials.alpn.empty()) SSL_CTX_set_alpn_select_cb(context, chooseProtocol, nullptr);
  SSL_CTX_set_tlsext_ticket_key_cb(context, sealOrOpenTicket);
}

Session& Callbacks::sessionOf(const SSL* ssl) {
  Session* const session = static_cast<const Transport*>(BIO_get_data(SSL_get_rbio(ssl)))->running_;
  WARREN_CHECK(session != nullptr);
  return *session;
}

const Credentials& Callbacks::credentialsOf(const SSL* ssl) { return *sessionOf(ssl).credentials_; }

void Callbacks::note(const SSL* ssl, Verdict verdict) {
  sessionOf(ssl).aside().verdict = std::make_unique<Verdict>(std::move(verdict));
}

bool Callbacks::rejects(const SSL* ssl) { return sessionOf(ssl).rejectUnauthorized_; }

bool Callbacks::expectsNobody(const SSL* ssl) {
  const Session& session = sessionOf(ssl);
  return session.isClient() && session.aside_->host.empty();
}

// --- transport ---------------------------------------------------------------------------------

bssl::UniquePtr<BIO> Callbacks::makeBio(Transport& transport) {
  static const BIO_METHOD* const method = transportMethod(readInput, writeOutput);
  bssl::UniquePtr<BIO> bio(method != nullptr ? BIO_new(method) : nullptr);
  if (!bio) return nullptr;
  BIO_set_data(bio.get(), &transport);
  BIO_set_init(bio.get(), 1);
  return bio;
}

int Callbacks::readInput(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  Bytes* const input = static_cast<Transport*>(BIO_get_data(bio))->input_;
  if (input == nullptr || input->empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const size_t count = std::min(input->size(), static_cast<size_t>(size));
  std::memcpy(into, input->data(), count);
  *input = input->subspan(count);
  return static_cast<int>(count);
}

int Callbacks::writeOutput(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  Transport& transport = *static_cast<Transport*>(BIO_get_data(bio));
  if (transport.output_.append(asBytes({data, static_cast<size_t>(size)}))) return size;
  transport.failed_ = true;
  return -1;
}

// --- server: who answers -----------------------------------------------------------------------

ssl_select_cert_result_t Callbacks::chooseCredentials(const SSL_CLIENT_HELLO* hello) {
  Session& session = sessionOf(hello->ssl);
  const std::string name = askedName(hello->ssl);
  const ServerPolicy& policy = *session.aside_->policy;
  const bool insists =
      session.ownVerifyMode_ && session.requestCert_ && session.rejectUnauthorized_;
  if (name.empty() && !insists && evades(policy)) return ssl_select_cert_error;
  if (!session.follow(policy.choose(name))) return ssl_select_cert_error;
  noteCiphers(session, *hello);
  noteCurves(session, *hello);
  return ssl_select_cert_success;
}

// TLS 1.2 ties a cipher to the type of key, so a key is good only if both ends have a cipher for it.
void Callbacks::noteCiphers(Session& session, const SSL_CLIENT_HELLO& hello) {
  bool ecdsa = false;
  bool rsa = false;
  const STACK_OF(SSL_CIPHER)* const ours = SSL_get_ciphers(session.ssl_.get());
  for (size_t at = 0; at + 1 < hello.cipher_suites_len; at += 2) {
    const auto number =
        static_cast<uint16_t>(hello.cipher_suites[at] << 8 | hello.cipher_suites[at + 1]);
    const SSL_CIPHER* const cipher = SSL_get_cipher_by_value(number);
    if (cipher == nullptr || ours == nullptr || !sk_SSL_CIPHER_find(ours, nullptr, cipher))
      continue;
    ecdsa = ecdsa || SSL_CIPHER_get_auth_nid(cipher) == NID_auth_ecdsa;
    rsa = rsa || SSL_CIPHER_get_auth_nid(cipher) == NID_auth_rsa;
  }
  session.seesEcdsa_ = ecdsa;
  session.seesRsa_ = rsa;
}

// RFC 8422, 5.1: before TLS 1.3 the curve of a key must be among the client's groups, if it names any.
void Callbacks::noteCurves(Session& session, const SSL_CLIENT_HELLO& hello) {
  const uint8_t* groups = nullptr;
  size_t size = 0;
  if (!SSL_early_callback_ctx_extension_get(&hello, TLSEXT_TYPE_supported_groups, &groups, &size)) {
    return;
  }
  session.curves_ = bitOf(KeyKind::rsa) | bitOf(KeyKind::ed25519);
  for (size_t at = 2; at + 1 < size; at += 2) {  // behind the size of the list
    const int group = groups[at] << 8 | groups[at + 1];
    for (const KeyKind kind : {KeyKind::p256, KeyKind::p384, KeyKind::p521}) {
      if (group == groupOf(kind)) session.curves_ |= bitOf(kind);
    }
  }
}

// --- both: what to show ------------------------------------------------------------------------

int Callbacks::choosePair(SSL* ssl, void*) {
  Session& session = sessionOf(ssl);
  const std::vector<Pair>& pairs = session.credentials_->pairs;
  if (pairs.empty()) return 1;  // a client without one says so
  const bool tls13 = SSL_version(ssl) >= TLS1_3_VERSION;
  // RFC 8446, 4.2.11: since TLS 1.3 a ticket belongs to no name. To a trust it does, where there is one.
  const bool scoped = !session.isClient() && (session.verifies() || !tls13);
  if (scoped && !session.setScope(askedName(ssl))) return 0;
  const uint16_t* algorithms = nullptr;
  const size_t count = SSL_get0_peer_verify_algorithms(ssl, &algorithms);
  session.signatures_ = shared(pairs, {algorithms, count}, tls13);
  const auto suits = [&](const Pair& pair) {
    const bool cipher = pair.kind == KeyKind::rsa ? session.seesRsa_ : session.seesEcdsa_;
    if (!tls13 && !(cipher && (session.curves_ & bitOf(pair.kind)) != 0)) return false;
    return std::any_of(algorithms, algorithms + count,
                       [&](uint16_t algorithm) { return signs(pair.kind, algorithm, tls13); });
  };
  const auto found = std::find_if(pairs.begin(), pairs.end(), suits);
  // When none suits, a client shows nothing (RFC 8446, 4.4.2), and BoringSSL refuses a server with the
  // words for it.
  if (found == pairs.end() && session.isClient()) {
    SSL_certs_clear(ssl);
    return 1;
  }
  const Pair& pair = found != pairs.end() ? *found : pairs.front();
  session.shown_ = static_cast<uint16_t>(&pair - pairs.data() + 1);
  // The first one came with the context: BoringSSL parses and compares keys whenever it is given a pair.
  return &pair == &pairs.front() ? staple(ssl, *session.credentials_) : setPair(ssl, pair);
}

int Callbacks::chooseProtocol(SSL* ssl, const uint8_t** out, uint8_t* outSize,
                              const uint8_t* offered, unsigned offeredSize, void*) {
  const std::string& ours = credentialsOf(ssl).alpn;
  uint8_t* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, outSize, octets(ours),
                                          static_cast<unsigned>(ours.size()), offered, offeredSize);
  *out = chosen;
  // RFC 7301, 3.2: the alert no_application_protocol.
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// --- resumption --------------------------------------------------------------------------------

// The layout of SSL_CTX_set_tlsext_ticket_keys, so that tickets are good for other servers that were
// given the same 48 bytes.
int Callbacks::sealOrOpenTicket(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher,
                                HMAC_CTX* hmac, int sealing) {
  const std::vector<TicketKey>& given = sessionOf(ssl).aside_->policy->fallback->ticketKeys;
  const std::vector<TicketKey> keys =
      given.empty() ? TicketKeys::ofProcess().at(std::time(nullptr)) : given;
  auto key = keys.begin();
  if (sealing != 0) {
    std::memcpy(name, key->name.data(), key->name.size());
    if (!RAND_bytes(iv, 16)) return -1;
  } else {
    key = std::find_if(keys.begin(), keys.end(), [name](const TicketKey& one) {
      return std::memcmp(one.name.data(), name, one.name.size()) == 0;
    });
    if (key == keys.end()) return 0;
  }
  const bool done =
      EVP_CipherInit_ex(cipher, EVP_aes_128_cbc(), nullptr, key->aes.data(), iv, sealing) == 1 &&
      HMAC_Init_ex(hmac, key->hmac.data(), key->hmac.size(), EVP_sha256(), nullptr) == 1;
  if (!done) return -1;
  return sealing != 0 || key == keys.begin() ? 1 : 2;  // 2: open, and seal it anew with the first
}

int Callbacks::keepSession(SSL* ssl, SSL_SESSION* fresh) {
  Session& session = sessionOf(ssl);
  if (session.credentials_->cacheSessions) {
    unsigned size = 0;
    const uint8_t* const scope = SSL_SESSION_get0_id_context(fresh, &size);
    SSL_SESSION_up_ref(fresh);
    SessionCache::ofProcess().keep(session.cacheKey(textOf(scope, size)),
                                   bssl::UniquePtr<SSL_SESSION>(fresh));
  }
  session.aside_->latest.reset(fresh);
  return 1;  // the reference is ours
}

void Callbacks::noteAlert(const SSL* ssl, int what, int) {
  if (what == SSL_CB_WRITE_ALERT) sessionOf(ssl).alerted_ = true;
}

// The user's function must not throw: there are frames without unwinding below it.
void Callbacks::logKeys(const SSL* ssl, const char* line) {
  credentialsOf(ssl).keylog(std::string_view(line));
}

}  // namespace warren::tls
