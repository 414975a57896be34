// Both ends of a TLS connection in memory.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "support/certificates.h"
#include "tls/credentials.h"
#include "tls/session.h"

namespace warren::test {

struct End {
  // At a place of its own: a session keeps its address.
  std::unique_ptr<tls::Transport> transport = std::make_unique<tls::Transport>();
  std::optional<tls::Session> session;
  std::string plain;  // everything received
  int readies = 0;
  bool ended = false;
  bool failed = false;

  base::RingBuffer& output() { return transport->output(); }
  // Gives it ciphertext, or nothing to begin with, and calls until it wants more.
  void feed(std::string_view cipher, size_t room = 16384);
  // Everything it wants to send, taken out.
  std::string take();
  void send(std::string_view text);
  std::string errorName() const { return session->error().name(); }
};

struct Ends {
  End client;
  End server;

  // Carries bytes both ways, `chunk` at a time, until nobody says anything.
  void run(size_t chunk = SIZE_MAX);
  bool bothReady() const { return client.readies == 1 && server.readies == 1; }
  bool fine() const { return bothReady() && !client.failed && !server.failed; }
};

// The test authority's leaf, and trust in the authority.
TlsOptions serverOptions(KeyType type = KeyType::p256);
TlsOptions clientOptions();

std::shared_ptr<const tls::Credentials> serverCredentials(const TlsOptions& options);
std::shared_ptr<const tls::Credentials> clientCredentials(const TlsOptions& options);
std::shared_ptr<const tls::ServerPolicy> policyOf(const TlsOptions& options);

Ends connected(std::shared_ptr<const tls::ServerPolicy> policy,
               std::shared_ptr<const tls::Credentials> credentials,
               const std::string& host = "localhost");
Ends ends(const TlsOptions& server, const TlsOptions& client,
          const std::string& host = "localhost");
// The same after the handshake.
Ends shaken(const TlsOptions& server, const TlsOptions& client,
            const std::string& host = "localhost");

// That options are refused, and what the message says.
std::string refused(const TlsOptions& options, tls::Role role, Usage code);

}  // namespace warren::test
