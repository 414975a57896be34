// Much data through TLS: whole, in order, whatever the readers do.
#include <algorithm>
#include <cstring>
#include <vector>

#include "support/catch.h"
#include "support/net.h"
#include "tls/both.h"
#include "warren/warren.h"

namespace warren {
namespace {

using test::Both;

// An endless stream that both ends know: a block over and over, of a size that no record, buffer or page
// has in common with it, so that bytes that are missing or come twice do not go unnoticed.
class Stream {
 public:
  Bytes from(size_t place, size_t most) const {
    const size_t start = place % block_.size();
    return Bytes(block_).subspan(start, std::min(most, block_.size() - start));
  }

 private:
  std::vector<std::byte> block_ = test::pattern((size_t{1} << 20) + 7, 3);
};

// One direction: what was accepted, and what came out of it.
struct Flow {
  const Stream& stream;
  size_t size;
  size_t written = 0;
  size_t received = 0;
  bool intact = true;

  // As much as the socket takes, with no more than `window` on the way.
  void write(Socket<> socket, size_t window) {
    while (written < std::min(size, received + window)) {
      const Bytes next = stream.from(written, std::min(size, received + window) - written);
      const std::ptrdiff_t taken = socket.write(next);
      REQUIRE(taken >= 0);
      written += static_cast<size_t>(taken);
      if (static_cast<size_t>(taken) < next.size()) return;  // `drain` goes on
    }
  }
  void read(Bytes bytes) {
    while (!bytes.empty()) {
      const Bytes wanted = stream.from(received, bytes.size());
      intact = intact && std::memcmp(bytes.data(), wanted.data(), wanted.size()) == 0;
      received += wanted.size();
      bytes = bytes.subspan(wanted.size());
    }
  }
};

}  // namespace

TEST_CASE("tls: 64 MiB each way at once arrive whole through slow readers", "[tls]") {
  constexpr size_t kSize = size_t{64} << 20;
  const Stream stream;
  Flow toServer{stream, kSize};
  Flow toClient{stream, kSize};
  Both* ends = nullptr;
  // Takes one piece a turn, and ends when it has everything.
  const auto slowly = [&](Flow& flow) {
    return [&](Socket<> socket, Bytes bytes) {
      flow.read(bytes);
      socket.pause();
      ends->reactor.post([socket] { socket.resume(); });
      if (flow.received == kSize) socket.end();
    };
  };
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    listen.socket.data = slowly(toServer);
    listen.socket.drain = [&](Socket<> socket) { toClient.write(socket, kSize); };
    connect.socket.data = slowly(toClient);
    connect.socket.drain = [&](Socket<> socket) { toServer.write(socket, kSize); };
  });
  ends = &both;
  both.bothOpen();
  toServer.write(both.client, kSize);
  toClient.write(both.server, kSize);
  both.until("client close clean");
  both.until("server close clean");
  for (const Flow* flow : {&toServer, &toClient}) {
    REQUIRE(flow->received == kSize);
    REQUIRE(flow->intact);
  }
  REQUIRE(both.client.bytesWritten() == kSize);
  REQUIRE(both.client.bytesRead() == kSize);
}

TEST_CASE("tls: an echo from the data handler gives 32 MiB back whole with 4 MiB on the way",
          "[tls]") {
  constexpr size_t kSize = size_t{32} << 20;
  constexpr size_t kWindow = size_t{4} << 20;
  const Stream stream;
  Flow flow{stream, kSize};
  Both both([&](ListenOptions<>& listen, ConnectOptions<>& connect) {
    listen.socket.data = [](Socket<> socket, Bytes bytes) {
      if (!socket.send(bytes)) socket.pause();
    };
    listen.socket.drain = [](Socket<> socket) { socket.resume(); };
    connect.socket.data = [&](Socket<> socket, Bytes bytes) {
      flow.read(bytes);
      flow.write(socket, kWindow);
      if (flow.received == kSize) socket.end();
    };
    connect.socket.drain = [&](Socket<> socket) { flow.write(socket, kWindow); };
  });
  both.bothOpen();
  flow.write(both.client, kWindow);
  both.until("client close clean");
  both.until("server close clean");
  REQUIRE(flow.received == kSize);
  REQUIRE(flow.intact);
  REQUIRE(both.server.bytesWritten() == kSize);
}

}  // namespace warren
