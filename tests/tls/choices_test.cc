// What a session may be told before its handshake, in the place of its options.
#include <algorithm>
#include <string>
#include <vector>

#include "support/catch.h"
#include "tls/credentials_impl.h"
#include "tls/ends.h"

namespace warren::test {
namespace {

using Names = std::vector<std::string>;

TlsOptions showing(TlsOptions options, const Identity& identity) {
  options.key = identity.key;
  options.cert = identity.cert;
  return options;
}

TEST_CASE("setServerName is asked for and verified in the place of the host") {
  const Identity shop = issue(testAuthority(), {.names = {"DNS:shop.example.com"}});
  Ends both = ends(showing({}, shop), clientOptions(), "localhost");
  REQUIRE(both.client.session->setServerName("shop.example.com"));
  both.run();
  REQUIRE(both.fine());
  CHECK(both.server.session->serverName() == "shop.example.com");
  CHECK(both.client.session->authorized());

  both = ends(showing({}, shop), clientOptions(), "shop.example.com");
  REQUIRE(both.client.session->setServerName("other.example.com"));
  both.run();
  CHECK(both.client.errorName() == "ERR_TLS_CERT_ALTNAME_INVALID");
}

TEST_CASE("a name that was set last counts, also after an address") {
  Ends both = ends(serverOptions(), clientOptions(), "192.0.2.1");
  REQUIRE(both.client.session->setServerName("127.0.0.1"));
  REQUIRE(both.client.session->setServerName("localhost"));
  both.run();
  CHECK(both.fine());
}

TEST_CASE("setServerName refuses what is no name, a server, and to be late") {
  Ends both = ends(serverOptions(), clientOptions());
  CHECK_FALSE(both.client.session->setServerName(""));
  CHECK_FALSE(both.client.session->setServerName(std::string(256, 'a')));
  CHECK_FALSE(both.client.session->setServerName(std::string_view("a\0b", 3)));
  CHECK_FALSE(both.server.session->setServerName("localhost"));
  both.client.feed({});
  CHECK_FALSE(both.client.session->setServerName("localhost"));
  both.run();
  CHECK(both.fine());
}

TEST_CASE("setVerifyMode lets a client through to a server it does not trust, and the reverse") {
  TlsOptions trustless;  // the system's roots do not know the test authority
  Ends both = ends(serverOptions(), trustless);
  REQUIRE(both.client.session->setVerifyMode(true, false));
  both.run();
  REQUIRE(both.fine());
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.client.session->authorizationError());

  trustless.rejectUnauthorized = false;
  both = ends(serverOptions(), trustless);
  REQUIRE(both.client.session->setVerifyMode(true, true));
  both.run();
  CHECK(both.client.failed);
}

TEST_CASE("setVerifyMode makes a server ask for a certificate, and insist") {
  TlsOptions server = serverOptions();
  server.ca = testAuthority().cert;
  const auto asked = [&](const TlsOptions& client, bool insists) {
    Ends both = ends(server, client);
    REQUIRE(both.server.session->setVerifyMode(true, insists));
    both.run();
    return both;
  };
  Ends both = asked(clientOptions(), false);
  REQUIRE(both.fine());
  CHECK_FALSE(both.server.session->authorized());
  CHECK(both.server.session->authorizationError().name() ==
        "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  CHECK(asked(clientOptions(), true).server.failed);
  both = asked(showing(clientOptions(), testLeaf()), true);
  REQUIRE(both.fine());
  CHECK(both.server.session->authorized());
}

TEST_CASE("a server told to verify without the option ca asks the system's roots") {
  Ends both = ends(serverOptions(), showing(clientOptions(), testLeaf()));
  REQUIRE(both.server.session->setVerifyMode(true, false));
  both.run();
  REQUIRE(both.fine());
  CHECK_FALSE(both.server.session->authorized());
  CHECK(both.server.session->authorizationError().name() == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
}

TEST_CASE("setVerifyMode makes a server ask nobody, though its options do, under any name") {
  TlsOptions strict = serverOptions();
  strict.requestCert = true;
  strict.ca = testAuthority().cert;
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(strict);
  policy->named = {{"localhost", serverCredentials(strict)}};
  Ends both = connected(policy, clientCredentials(clientOptions()));
  REQUIRE(both.server.session->setVerifyMode(false, false));
  both.run();
  CHECK(both.fine());
}

TEST_CASE("whether a stream may end without close_notify is up to the name that was asked for") {
  TlsOptions tolerant = serverOptions();
  tolerant.tolerateTruncation = true;
  for (const bool lenient : {false, true}) {
    auto policy = std::make_shared<tls::ServerPolicy>();
    policy->fallback = serverCredentials(lenient ? serverOptions() : tolerant);
    policy->named = {{"www.example.com", serverCredentials(lenient ? tolerant : serverOptions())}};
    Ends both = connected(policy, clientCredentials(clientOptions()), "www.example.com");
    both.run();
    REQUIRE(both.fine());
    CHECK(both.server.session->toleratesTruncation() == lenient);
    CHECK_FALSE(both.client.session->toleratesTruncation());
  }
}

TEST_CASE("leaving the name out is no way around a name that insists on certificates") {
  const bool insists = GENERATE(false, true);
  TlsOptions strict = serverOptions();
  strict.requestCert = true;
  strict.rejectUnauthorized = insists;
  strict.ca = testAuthority().cert;
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(serverOptions());
  policy->named = {{"admin.example.com", serverCredentials(strict)}};
  const auto client = clientCredentials(clientOptions());
  Ends nameless = connected(policy, client, "127.0.0.1");
  nameless.run();
  CHECK(nameless.server.failed == insists);
  if (insists) CHECK(nameless.server.errorName() == "ERR_SSL_CONNECTION_REJECTED");
  Ends told =
      connected(policy, clientCredentials(showing(clientOptions(), testLeaf())), "127.0.0.1");
  REQUIRE(told.server.session->setVerifyMode(true, true));  // so it evades nothing
  told.run();
  CHECK(told.server.errorName() == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
  Ends other = connected(policy, client, "www.example.com");
  other.run();
  CHECK(other.fine());

  policy->fallback = serverCredentials(strict);
  Ends asked =
      connected(policy, clientCredentials(showing(clientOptions(), testLeaf())), "127.0.0.1");
  asked.run();
  CHECK(asked.fine());
}

TEST_CASE("setVerifyMode is refused when it is late, and when there is nobody to verify") {
  TlsOptions nobody = clientOptions();
  nobody.rejectUnauthorized = false;
  Ends both = ends(serverOptions(), nobody, "");
  CHECK_FALSE(both.client.session->setVerifyMode(true, true));
  both.run();
  REQUIRE(both.fine());
  CHECK_FALSE(both.client.session->setVerifyMode(true, false));
  CHECK_FALSE(both.server.session->setVerifyMode(true, false));
}

TEST_CASE("a session that was let through unverified is not resumed where others are verified") {
  const auto policy = policyOf(serverOptions());
  const auto client = clientCredentials(clientOptions());
  Ends first = connected(policy, client);
  REQUIRE(first.client.session->setVerifyMode(true, false));
  first.run();
  first.server.send("x");
  first.run();
  const std::string session = first.client.session->session();
  REQUIRE_FALSE(session.empty());
  Ends second = connected(policy, client);
  CHECK_FALSE(second.client.session->setSession(session));
}

TEST_CASE(
    "a client whose key the server cannot verify shows nothing, and is let in where it may be") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsOptions asking = serverOptions();
    asking.requestCert = true;
    asking.rejectUnauthorized = false;
    asking.ca = testAuthority().cert;
    asking.maxVersion = version;
    const auto policy = policyOf(asking);
    const uint16_t wanted = SSL_SIGN_RSA_PSS_RSAE_SHA256;
    SSL_CTX_set_verify_algorithm_prefs(policy->fallback->context.get(), &wanted, 1);
    Ends both = connected(policy, clientCredentials(showing(clientOptions(), testLeaf())));
    both.run();
    REQUIRE(both.fine());
    CHECK(both.client.session->certificate() == std::nullopt);
    CHECK_FALSE(both.server.session->authorized());
  }
}

TEST_CASE("both ends know which signatures they share") {
  Ends both = shaken(serverOptions(KeyType::p256), clientOptions());
  CHECK(both.server.session->sharedSignatureAlgorithms() == Names{"ecdsa_secp256r1_sha256"});
  CHECK(both.client.session->sharedSignatureAlgorithms().empty());  // nobody asked it for any

  TlsOptions asking = serverOptions(KeyType::rsa);
  asking.requestCert = true;
  asking.ca = testAuthority().cert;
  both = shaken(asking, showing(clientOptions(), testLeaf(KeyType::ed25519)));
  REQUIRE(both.fine());
  CHECK(both.client.session->sharedSignatureAlgorithms() == Names{"ed25519"});
  const Names shared = both.server.session->sharedSignatureAlgorithms();
  CHECK(std::count(shared.begin(), shared.end(), "rsa_pss_rsae_sha256") == 1);
  CHECK(std::count(shared.begin(), shared.end(), "ed25519") == 0);
}

TEST_CASE("a client has its server's ticket once there is one") {
  Ends both = shaken(serverOptions(), clientOptions());
  CHECK(both.server.session->ticket().empty());
  both.server.send("x");  // in TLS 1.3 tickets come with the first bytes
  both.run();
  const std::string ticket = both.client.session->ticket();
  CHECK(ticket.size() > 32);
  CHECK(both.client.session->session().find(ticket) != std::string::npos);

  TlsOptions without = serverOptions();
  without.sessionTickets = false;
  both = shaken(without, clientOptions());
  both.server.send("x");
  both.run();
  CHECK(both.client.session->ticket().empty());
}

TEST_CASE("a library that is loaded in the place of BoringSSL is refused by its name") {
  CHECK(tls::checkLibrary("BoringSSL"));
  const Result<void> other = tls::checkLibrary("OpenSSL 3.0.17 1 Jul 2025");
  REQUIRE_FALSE(other);
  CHECK(other.error().is(Usage::unsupported));
  CHECK(other.error().message().find("OpenSSL 3.0.17") != std::string::npos);
}

}  // namespace
}  // namespace warren::test
