#include "far.h"

#include "secure.h"

#if WARREN_TLS

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <array>
#include <cstdlib>

namespace warren::swarm {

namespace {

constexpr int kMostRekeys = 16;  // more without data between them are refused

void must(bool done) {
  if (!done) std::abort();
}

BIO* textBio(const std::string& text) {
  return BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
}

bssl::UniquePtr<SSL_CTX> makeContext(Far::Role role) {
  bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  constexpr std::array<uint16_t, 1> kAlgorithms = {SSL_SIGN_ED25519};
  must(SSL_CTX_set_verify_algorithm_prefs(context.get(), kAlgorithms.data(), kAlgorithms.size()));
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (role == Far::Role::client) return context;
  const bssl::UniquePtr<BIO> cert(textBio(serverIdentity().cert));
  const bssl::UniquePtr<BIO> key(textBio(serverIdentity().key));
  const bssl::UniquePtr<X509> shown(PEM_read_bio_X509(cert.get(), nullptr, nullptr, nullptr));
  const bssl::UniquePtr<EVP_PKEY> secret(
      PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
  must(SSL_CTX_use_certificate(context.get(), shown.get()));
  must(SSL_CTX_use_PrivateKey(context.get(), secret.get()));
  const std::string tickets(48, 't');
  must(SSL_CTX_set_tlsext_ticket_keys(context.get(), tickets.data(), tickets.size()));
  return context;
}

SSL_CTX* contextOf(Far::Role role) {
  static const bssl::UniquePtr<SSL_CTX> client = makeContext(Far::Role::client);
  static const bssl::UniquePtr<SSL_CTX> server = makeContext(Far::Role::server);
  return role == Far::Role::client ? client.get() : server.get();
}

}  // namespace

void Far::Free::operator()(ssl_st* ssl) const { SSL_free(ssl); }

Far::Far(Role role) : ssl_(SSL_new(contextOf(role))) {
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  role == Role::client ? SSL_set_connect_state(ssl_.get()) : SSL_set_accept_state(ssl_.get());
}

Far::~Far() = default;

bool Far::waits(int returned) {
  const int why = SSL_get_error(ssl_.get(), returned);
  if (why == SSL_ERROR_ZERO_RETURN && ready_) {
    ended_ = true;
  } else if (why != SSL_ERROR_WANT_READ) {
    failed_ = true;
    const uint32_t error = ERR_peek_error();
    error_ = error != 0 ? ERR_reason_error_string(error) : "it ended";
  }
  ERR_clear_error();  // warren wants to find none
  return why == SSL_ERROR_WANT_READ;
}

void Far::shakeHands() {
  const int returned = SSL_do_handshake(ssl_.get());
  if (returned == 1) {
    ready_ = true;
  } else {
    waits(returned);
  }
}

void Far::read(std::string& plain) {
  std::array<char, 16384> part;
  for (;;) {
    const int count = SSL_read(ssl_.get(), part.data(), static_cast<int>(part.size()));
    if (count <= 0) return static_cast<void>(waits(count));
    plain.append(part.data(), static_cast<size_t>(count));
  }
}

std::string Far::feed(std::string_view cipher) {
  std::string plain;
  if (failed_ || ended_) return plain;
  if (!cipher.empty()) {
    BIO_write(SSL_get_rbio(ssl_.get()), cipher.data(), static_cast<int>(cipher.size()));
  }
  if (!ready_) shakeHands();
  if (ready_) read(plain);
  return plain;
}

std::string Far::take() {
  BIO* const bio = SSL_get_wbio(ssl_.get());
  std::string all(BIO_pending(bio), '\0');
  if (!all.empty()) BIO_read(bio, all.data(), static_cast<int>(all.size()));
  return all;
}

void Far::send(std::string_view plain) {
  if (plain.empty()) return;
  const int size = static_cast<int>(plain.size());
  must(SSL_write(ssl_.get(), plain.data(), size) == size);
  rekeys_ = 0;
}

void Far::notify() {
  if (notified_) return;
  notified_ = true;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

void Far::rekey(bool both) {
  if (SSL_version(ssl_.get()) != TLS1_3_VERSION || ++rekeys_ > kMostRekeys) return;
  must(SSL_key_update(ssl_.get(), both ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED));
  SSL_write(ssl_.get(), "", 0);
  ERR_clear_error();
}

void Far::alert() {
  SSL_send_fatal_alert(ssl_.get(), SSL_AD_ACCESS_DENIED);
  ERR_clear_error();
  notified_ = true;
}

}  // namespace warren::swarm

#else

namespace warren::swarm {

// Nobody speaks TLS in this build: nothing makes one.
void Far::Free::operator()(ssl_st*) const {}
Far::Far(Role) {}
Far::~Far() = default;
std::string Far::feed(std::string_view) { return {}; }
std::string Far::take() { return {}; }
void Far::send(std::string_view) {}
void Far::notify() {}
void Far::rekey(bool) {}
void Far::alert() {}

}  // namespace warren::swarm

#endif

namespace warren::swarm {

std::string Far::record(uint8_t type, std::string_view body) {
  std::string text = {static_cast<char>(type), 3, 3, static_cast<char>(body.size() >> 8),
                      static_cast<char>(body.size())};
  return text += body;
}

}  // namespace warren::swarm
