// Callbacks: what BoringSSL asks a session while it works.
#pragma once

#include <openssl/bio.h>
#include <openssl/hmac.h>

#include <cstdint>

#include "tls/boring.h"
#include "tls/session.h"
#include "tls/verify.h"

namespace warren::tls {

// They run inside a call of a session, which its transport knows.
struct Callbacks {
  // Sets all of them.
  static void install(SSL_CTX* context, const Credentials& credentials);
  // Null without memory.
  static bssl::UniquePtr<BIO> makeBio(Transport& transport);

  static const Credentials& credentialsOf(const SSL* ssl);
  static void note(const SSL* ssl, Verdict verdict);
  static bool rejects(const SSL* ssl);
  static bool expectsNobody(const SSL* ssl);  // a client that was told of no name

 private:
  static Session& sessionOf(const SSL* ssl);
  static int readInput(BIO* bio, char* into, int size);
  static int writeOutput(BIO* bio, const char* data, int size);
  static ssl_select_cert_result_t chooseCredentials(const SSL_CLIENT_HELLO* hello);
  static void noteCiphers(Session& session, const SSL_CLIENT_HELLO& hello);
  static void noteCurves(Session& session, const SSL_CLIENT_HELLO& hello);
  static int choosePair(SSL* ssl, void* unused);
  static int chooseProtocol(SSL* ssl, const uint8_t** out, uint8_t* outSize, const uint8_t* offered,
                            unsigned offeredSize, void* unused);
  static int sealOrOpenTicket(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher,
                              HMAC_CTX* hmac, int sealing);
  static int keepSession(SSL* ssl, SSL_SESSION* session);
  static void noteAlert(const SSL* ssl, int what, int value);
  static void logKeys(const SSL* ssl, const char* line);
};

}  // namespace warren::tls
