// What a TLS socket costs while nothing happens on it.
#include <cstdlib>
#include <string>
#include <vector>

#include "support/catch.h"
#include "support/net.h"
#include "tls/ends.h"
#include "warren/warren.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

// A sanitizer brings a heap of its own, which is not what users pay.
#if !defined(__has_feature)
#define __has_feature(name) 0
#endif
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !__has_feature(address_sanitizer) &&            \
    !__has_feature(thread_sanitizer)

namespace warren {
namespace {

using test::RawSocket;
using test::runUntil;

// A client that has shaken hands and keeps nothing but its descriptor and its session.
struct Client {
  RawSocket socket;
  test::Ends ends = test::ends(test::serverOptions(), test::clientOptions());

  void relay() {
    socket.sendAll(ends.client.take());
    ends.client.feed(socket.readSome());
  }
};

}  // namespace

TEST_CASE("an idle TLS socket keeps no buffer and nothing of its handshake", "[tls]") {
  constexpr size_t kSockets = 100;
  // 2.7 KB with BoringSSL 13, of which 64 bytes are ours. Its record buffers would be 16 KB more in each
  // direction.
  constexpr size_t kMost = 3400;
  Reactor reactor;
  std::vector<Socket<>> open;
  const auto listener =
      reactor
          .listen<>({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.open = [&](Socket<> socket) { open.push_back(socket); },
                                .data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }},
                     .tls = test::serverOptions()})
          .value();
  open.reserve(kSockets + 1);
  const auto shake = [&] {
    Client client;
    client.socket = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
    client.ends.client.feed({});
    const size_t before = open.size();
    runUntil(reactor, [&] {
      client.relay();
      return open.size() > before;
    });
    client.ends.client.send(std::string(40'000, 'x'));  // and through its buffers
    runUntil(reactor, [&] {
      client.relay();
      return client.ends.client.plain.size() == 40'000;
    });
    return std::move(client.socket);  // its session goes, and so does all that it has allocated
  };
  std::vector<RawSocket> clients;
  clients.reserve(kSockets + 1);
  clients.push_back(shake());  // what all of them share
  const size_t before = mallinfo2().uordblks;
  for (size_t at = 0; at < kSockets; ++at) clients.push_back(shake());
  const size_t each = (mallinfo2().uordblks - before) / kSockets;
  CAPTURE(each);
  REQUIRE(each > 1000);
  REQUIRE(each < kMost);
}

}  // namespace warren

#endif
