// A protocol of a user's, and its test on a hostile network: every message is four bytes of length, then
// the body, and comes back as it went. Only public headers are used: copy it and put yours in its place.
#pragma once

#include <warren/sim.h>
#include <warren/warren.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace example {

inline std::string frame(std::string_view body) {
  std::string text(4, '\0');
  for (size_t at = 0; at < 4; ++at) text[at] = static_cast<char>(body.size() >> (24 - 8 * at));
  return text.append(body);
}

// Takes a stream apart. `careful` is as it should be. The other one takes for granted that a header comes
// in one piece: true on every quiet network, until it is not.
class Splitter {
 public:
  explicit Splitter(bool careful = true) : careful_(careful) {}

  // Gives the bodies that are complete to `take`.
  template <class Take>
  void feed(std::string_view bytes, const Take& take) {
    if (!careful_ && pending_.empty() && bytes.size() < 4) return;  // the planted bug
    pending_ += bytes;
    while (pending_.size() >= 4) {
      size_t size = 0;
      for (size_t at = 0; at < 4; ++at) size = size << 8 | static_cast<unsigned char>(pending_[at]);
      if (pending_.size() < 4 + size) return;
      take(std::string_view(pending_).substr(4, size));
      pending_.erase(0, 4 + size);
    }
  }

 private:
  std::string pending_;
  bool careful_;
};

// Three messages there and back in one simulated world. What the network does is decided by the seed; a
// reset may cut the conversation, but what comes must be right, and without one all of it must come.
inline bool works(uint64_t seed, bool careful) {
  warren::sim::Kernel kernel;
  kernel.buffers(64, 64);
  kernel.chaos({.seed = seed,
                .shortReads = 300,
                .shortWrites = 300,
                .refusals = 100,
                .delays = 200,
                .shuffles = 500,
                .duplicates = 100,
                .spurious = 100});
  if (seed % 2 == 0) kernel.readiness(warren::sim::Readiness::kqueue);
  warren::Reactor reactor;
  const warren::Result<warren::Listener<Splitter>> listener = reactor.listen<Splitter>({
      .hostname = "127.0.0.1",
      .port = 80,
      .socket = {.data =
                     [](auto socket, warren::Bytes bytes) {
                       socket.data().feed(warren::asText(bytes),
                                          [&](std::string_view body) { socket.send(frame(body)); });
                     }},
      .data = Splitter(careful),
  });
  if (!listener) return false;
  warren::sim::Peer peer = kernel.connect(80);
  const std::string sent = frame("first") + frame("") + frame(std::string(200, 'x'));
  std::string back;
  size_t given = 0;
  for (int turn = 0; turn < 1000 && back.size() < sent.size(); ++turn) {
    given += peer.send(std::string_view(sent).substr(given));
    reactor.step(std::chrono::milliseconds(20));
    back += peer.readAll();
  }
  return back == sent;
}

// The first seed that shows a bug; there is none in a careful splitter.
inline std::optional<uint64_t> firstBadSeed(uint64_t seeds, bool careful) {
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    if (!works(seed, careful)) return seed;
  }
  return std::nullopt;
}

}  // namespace example
