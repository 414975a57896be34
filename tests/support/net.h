// What loopback tests need besides warren: a plain peer, a directory, a way to wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "warren/bytes.h"
#include "warren/reactor.h"

namespace warren::test {

// A socket without warren. A call named "some" does what can be done at once and never waits; every
// other call waits until it is done.
//   errors  std::system_error for what a system call refuses: ECONNRESET when the peer reset;
//           std::runtime_error after 10 s without progress, or an end that came too early
class RawSocket {
 public:
  static RawSocket connectTcp(uint16_t port, const std::string& host = "127.0.0.1");
  static RawSocket connectUnix(const std::string& path);
  // Port 0 is one of the kernel's choice: see port(). Hosts are numeric.
  static RawSocket listenTcp(const std::string& host = "127.0.0.1", uint16_t port = 0,
                             int backlog = kBacklog);
  static RawSocket listenUnix(const std::string& path);
  // A port for a program that cannot choose one itself: bound but silent, so the kernel gives it to
  // nobody who does not ask for it, and whoever does (with SO_REUSEADDR) may listen there.
  static RawSocket reserveTcp();

  static constexpr int kBacklog = 4096;

  RawSocket() = default;  // closed
  ~RawSocket() { close(); }
  RawSocket(RawSocket&& other) noexcept;
  RawSocket& operator=(RawSocket&& other) noexcept;

  RawSocket accept();

  void sendAll(Bytes bytes);
  void sendAll(std::string_view text) { sendAll(asBytes(text)); }
  // Gives how many bytes the kernel took: 0 when it is full.
  size_t sendSome(Bytes bytes);
  size_t sendSome(std::string_view text) { return sendSome(asBytes(text)); }

  // What is there, up to 64 KiB; empty when nothing is, and after the peer's FIN: see ended().
  std::string readSome();
  // Everything up to the peer's FIN.
  std::string readAll();
  std::string readExactly(size_t count);
  // A read has met the peer's FIN.
  bool ended() const { return ended_; }

  void shutdownWrite();
  // Closes with RST, dropping what is unsent.
  void reset();
  void close();
  // Gives the descriptor away: it is the caller's from here on.
  int release() { return std::exchange(fd_, -1); }

  // The kernel rounds them, and doubles them on Linux. Accepted sockets inherit a listener's.
  void setSmallBuffers(int receive, int send);

  // Its own port; 0 for unix sockets.
  uint16_t port() const;

 private:
  explicit RawSocket(int fd);
  size_t receive(std::span<char> room);
  void wait(short events, const char* what) const;

  int fd_ = -1;
  bool ended_ = false;
};

// A port of 127.0.0.1 on which nobody listens as long as the program runs.
uint16_t deadPort();

// A new directory, gone with all its content when this dies.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(std::string_view name) const { return (root_ / name).string(); }

 private:
  std::filesystem::path root_;
};

// How many descriptors this process has open.
size_t openDescriptors();

// Turns until the condition holds; throws std::runtime_error when it does not within 10 s.
void runUntil(Reactor& reactor, const std::function<bool()>& condition);

// FNV-1a. The hash of bytes in pieces: give the last piece's hash with the next piece.
uint64_t hash(Bytes bytes, uint64_t previous = 0xcbf29ce484222325);

// Bytes that look random and depend on the seed only; shorter patterns are prefixes of longer ones.
std::vector<std::byte> pattern(size_t size, uint64_t seed);

}  // namespace warren::test
