// Peers that are not warren: a bare BoringSSL, and flights with a changed byte.
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "support/catch.h"
#include "tls/ends.h"

namespace warren::test {
namespace {

// A client that can do what warren's does not.
class Bare {
 public:
  explicit Bare(bool oldVersion = false) {
    context_.reset(SSL_CTX_new(TLS_method()));
    if (oldVersion) SSL_CTX_set_max_proto_version(context_.get(), TLS1_1_VERSION);
    if (oldVersion) SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    ssl_.reset(SSL_new(context_.get()));
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in_, -1);
    SSL_set_bio(ssl_.get(), in_, out_);
    SSL_set_connect_state(ssl_.get());
  }

  SSL* ssl() { return ssl_.get(); }
  int shake() { return SSL_do_handshake(ssl_.get()); }
  void feed(const std::string& bytes) {
    BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
  }
  std::string take() {
    const uint8_t* data = nullptr;
    size_t size = 0;
    BIO_mem_contents(out_, &data, &size);
    std::string all(reinterpret_cast<const char*>(data), size);
    BIO_reset(out_);
    return all;
  }
  void write(const char* text) {
    REQUIRE(SSL_write(ssl_.get(), text, static_cast<int>(std::strlen(text))) > 0);
  }

 private:
  bssl::UniquePtr<SSL_CTX> context_;
  bssl::UniquePtr<SSL> ssl_;
  BIO* in_;
  BIO* out_;
};

void shake(Bare& bare, End& server) {
  REQUIRE(bare.shake() != 1);
  server.feed(bare.take());
  bare.feed(server.take());
  REQUIRE(bare.shake() == 1);
  server.feed(bare.take());
  REQUIRE(server.readies == 1);
}

TEST_CASE("keys may be updated in the middle of the data, and the answer is sent with ours") {
  Ends both = ends(serverOptions(), clientOptions());
  Bare bare;
  shake(bare, both.server);
  for (int round = 0; round < 5; ++round) {
    REQUIRE(SSL_key_update(bare.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    bare.write("after");
    both.server.plain.clear();
    both.server.feed(bare.take());
    CHECK(both.server.plain == "after");
    both.server.send("answer");
    bare.feed(both.server.take());
    char text[16];
    CHECK(SSL_read(bare.ssl(), text, sizeof text) == 6);
  }
}

TEST_CASE("versions before TLS 1.2 are refused") {
  Ends both = ends(serverOptions(), clientOptions());
  Bare old(true);
  old.shake();
  both.server.feed(old.take());
  REQUIRE(both.server.failed);
  CHECK(both.server.errorName() == "ERR_SSL_UNSUPPORTED_PROTOCOL");
}

// An endless run of them would keep us busy with nothing.
TEST_CASE("a flood of key updates without any data is refused") {
  Ends both = ends(serverOptions(), clientOptions());
  Bare bare;
  shake(bare, both.server);
  // Each one leaves with the next record or when asked to be sent at once.
  for (int round = 0; round < 100 && !both.server.failed; ++round) {
    REQUIRE(SSL_key_update(bare.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
    SSL_write(bare.ssl(), nullptr, 0);
    both.server.feed(bare.take());
  }
  REQUIRE(both.server.failed);
  CHECK(both.server.errorName() == "ERR_SSL_TOO_MANY_KEY_UPDATES");
}

TEST_CASE("key updates that ask for ours make nothing pile up while we have nothing to say") {
  Ends both = ends(serverOptions(), clientOptions());
  Bare bare;
  shake(bare, both.server);
  for (int round = 0; round < 1000; ++round) {
    REQUIRE(SSL_key_update(bare.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    bare.write("x");
    both.server.feed(bare.take());
  }
  REQUIRE(both.server.plain == std::string(1000, 'x'));
  CHECK(both.server.take().size() < 100);
  both.server.send("answer");
  bare.feed(both.server.take());
  char text[16];
  CHECK(SSL_read(bare.ssl(), text, sizeof text) == 6);
}

TEST_CASE("floods of empty records and of warnings are refused") {
  const auto refused = [](const std::string& record) {
    Ends both = ends(serverOptions(), clientOptions());
    for (int count = 0; count < 1000 && !both.server.failed; ++count) both.server.feed(record);
    REQUIRE(both.server.failed);
    return both.server.errorName();
  };
  CHECK(refused(std::string("\x16\x03\x01\x00\x00", 5)) == "ERR_SSL_TOO_MANY_EMPTY_FRAGMENTS");
  CHECK(refused(std::string("\x15\x03\x01\x00\x02\x01\x5a", 7)) ==
        "ERR_SSL_TOO_MANY_WARNING_ALERTS");
}

TEST_CASE("a ClientHello may come in several records") {
  for (const size_t size : {size_t{1}, size_t{3}, size_t{100}}) {
    Ends both = ends(serverOptions(), clientOptions());
    both.client.feed({});
    const std::string hello = both.client.take().substr(5);
    for (size_t at = 0; at < hello.size(); at += size) {
      const std::string part = hello.substr(at, size);
      both.server.feed(std::string("\x16\x03\x01\x00", 4) + static_cast<char>(part.size()) + part);
    }
    both.run();
    CHECK(both.fine());
  }
}

// Where the payload of the records in a flight lies: their headers are no part of what is signed.
std::vector<size_t> payload(const std::string& flight) {
  std::vector<size_t> places;
  for (size_t at = 0; at + 5 <= flight.size();) {
    const auto octet = [&](size_t index) { return size_t{static_cast<uint8_t>(flight[index])}; };
    const size_t end = at + 5 + (octet(at + 3) << 8 | octet(at + 4));
    const bool handshake = octet(at) == 22 || octet(at) == 23;
    for (size_t index = at + 5; handshake && index < std::min(end, flight.size()); ++index) {
      places.push_back(index);
    }
    at = end;
  }
  return places;
}

TEST_CASE("a changed byte in the server's flight never makes the client ready") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsOptions options = serverOptions();
    options.maxVersion = version;
    const auto policy = policyOf(options);
    const auto credentials = clientCredentials(clientOptions());
    size_t step = 0;
    size_t failures = 0;
    for (bool left = true; left; ++step) {
      Ends both = connected(policy, credentials);
      both.client.feed({});
      both.server.feed(both.client.take());
      std::string flight = both.server.take();
      const std::vector<size_t> places = payload(flight);
      left = (step + 1) * 11 < places.size();
      const size_t at = places.at(step * 11);
      flight[at] = static_cast<char>(flight[at] ^ (1 << (step % 8)));
      both.client.feed(flight);
      // TLS 1.2 is not done before the server's Finished, which now has the wrong sum.
      if (!both.client.failed) both.server.feed(both.client.take());
      if (!both.client.failed) both.client.feed(both.server.take());
      INFO("byte " << at);
      REQUIRE(both.client.readies == 0);
      failures += both.client.failed ? 1 : 0;
    }
    CHECK(failures > step / 2);
  }
}

TEST_CASE("a changed byte in the ClientHello never makes both ready") {
  const auto policy = policyOf(serverOptions());
  const auto credentials = clientCredentials(clientOptions());
  for (size_t at = 5; at < 200; at += 3) {
    Ends both = connected(policy, credentials);
    both.client.feed({});
    std::string hello = both.client.take();
    hello[at] = static_cast<char>(hello[at] ^ 4);
    both.server.feed(hello);
    both.run();
    INFO("byte " << at);
    REQUIRE_FALSE(both.bothReady());
  }
}

}  // namespace
}  // namespace warren::test
