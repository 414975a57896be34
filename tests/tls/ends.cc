#include "tls/ends.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "support/catch.h"

namespace warren::test {

using tls::Role;
using tls::Session;

void End::feed(std::string_view cipher, size_t room) {
  // Copied to a block of its own size, so that a sanitizer sees a read beyond it.
  const std::vector<char> exact(cipher.begin(), cipher.end());
  Bytes input = asBytes({exact.data(), exact.size()});
  std::vector<std::byte> into(room);
  for (;;) {
    const Session::Received received = session->receive(input, into);
    switch (received.state) {
      case Session::State::more:
        REQUIRE(input.empty());
        return;
      case Session::State::plaintext:
        REQUIRE(received.plain > 0);
        plain += asText(Bytes(into.data(), received.plain));
        break;
      case Session::State::ready:
        REQUIRE(session->ready());
        ++readies;
        break;
      case Session::State::ended:
        REQUIRE(input.empty());
        ended = true;
        return;
      case Session::State::failed:
        REQUIRE(input.empty());
        REQUIRE(session->error());
        failed = true;
        return;
    }
  }
}

std::string End::take() {
  std::string all;
  for (const Bytes part : output().readable()) all += asText(part);
  output().clear();
  return all;
}

void End::send(std::string_view text) {
  const Result<size_t> taken = session->send(asBytes(text));
  REQUIRE(taken);
  REQUIRE(*taken == text.size());
}

void Ends::run(size_t chunk) {
  if (client.readies == 0) client.feed({});
  const auto carry = [chunk](End& from, End& to) {
    const std::string all = from.take();
    for (size_t at = 0; at < all.size(); at += std::min(chunk, all.size() - at)) {
      to.feed(std::string_view(all).substr(at, chunk));
    }
  };
  while (!client.output().empty() || !server.output().empty()) {
    carry(client, server);
    carry(server, client);
  }
}

TlsOptions serverOptions(KeyType type) {
  TlsOptions options;
  options.key = testLeaf(type).key;
  options.cert = testLeaf(type).cert;
  return options;
}

TlsOptions clientOptions() {
  TlsOptions options;
  options.ca = testAuthority().cert;
  return options;
}

std::shared_ptr<const tls::Credentials> serverCredentials(const TlsOptions& options) {
  auto made = makeCredentials(options, Role::server);
  INFO(made.error().message());
  REQUIRE(made);
  return *made;
}

std::shared_ptr<const tls::Credentials> clientCredentials(const TlsOptions& options) {
  auto made = makeCredentials(options, Role::client);
  INFO(made.error().message());
  REQUIRE(made);
  return *made;
}

std::shared_ptr<const tls::ServerPolicy> policyOf(const TlsOptions& options) {
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(options);
  return policy;
}

Ends connected(std::shared_ptr<const tls::ServerPolicy> policy,
               std::shared_ptr<const tls::Credentials> credentials, const std::string& host) {
  Ends both;
  auto client = Session::client(std::move(credentials), host, *both.client.transport);
  auto server = Session::server(std::move(policy), *both.server.transport);
  REQUIRE(client);
  REQUIRE(server);
  both.client.session = std::move(*client);
  both.server.session = std::move(*server);
  return both;
}

Ends ends(const TlsOptions& server, const TlsOptions& client, const std::string& host) {
  return connected(policyOf(server), clientCredentials(client), host);
}

Ends shaken(const TlsOptions& server, const TlsOptions& client, const std::string& host) {
  Ends both = ends(server, client, host);
  both.run();
  return both;
}

std::string refused(const TlsOptions& options, Role role, Usage code) {
  const auto made = makeCredentials(options, role);
  REQUIRE_FALSE(made);
  CHECK(made.error().origin() == Origin::usage);
  CHECK(made.error().step() == Step::options);
  CHECK(made.error().name() == Error(code, Step::options, "").name());
  return made.error().message();
}

}  // namespace warren::test
