package replenish

import java.io.{ByteArrayOutputStream, IOException}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.FileAlreadyExistsException
import java.util.Arrays

import scala.language.existentials
import scala.util.{Failure, Success, Try, Using}

import io.delta.storage.S3SingleDriverLogStore
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}
import org.apache.hadoop.fs.Options.CreateFileOptionKeys.FS_OPTION_CREATE_CONDITIONAL_OVERWRITE

/**
 * Delta's log store for S3, with commits that S3 itself keeps apart: a commit's file is put with `If-None-Match: *`, so
 * of two drivers that write the same version one is told so, and Delta lets it try the next version or reports the
 * conflict. The store that it extends looks first and puts then, under a lock that only its own JVM knows.
 */
class ConditionalPutLogStore(conf: Configuration) extends S3SingleDriverLogStore(conf) {

  override def write(
      path: Path,
      actions: java.util.Iterator[String],
      overwrite: java.lang.Boolean,
      hadoopConf: Configuration): Unit =
    if (overwrite) super.write(path, actions, overwrite, hadoopConf)
    else create(resolvePathOnPhysicalStorage(path, hadoopConf), content(actions), hadoopConf)

  private def create(path: Path, content: Array[Byte], hadoopConf: Configuration): Unit = {
    val store = path.getFileSystem(hadoopConf)
    try put(store, path, content)
    catch {
      case error: IOException =>
        // An answer may be lost and its request repeated: what stands in the way is then this very commit. Commits
        // carry a random id, so no other has the same content.
        Try(read(store, path)) match {
          case Success(found) if Arrays.equals(found, content) =>
          case Success(_) => throw new FileAlreadyExistsException(path.toString)
          case Failure(_) => throw error
        }
    }
  }

  private def put(store: FileSystem, path: Path, content: Array[Byte]): Unit = {
    // `must`: a file system that does not know this refuses, where it would otherwise overwrite.
    val builder = store.createFile(path).recursive().overwrite(true)
    builder.must(FS_OPTION_CREATE_CONDITIONAL_OVERWRITE, true)
    Using.resource(builder.build())(_.write(content))
  }

  private def read(store: FileSystem, path: Path): Array[Byte] =
    Using.resource(store.open(path))(_.readAllBytes())

  private def content(actions: java.util.Iterator[String]): Array[Byte] = {
    val bytes = new ByteArrayOutputStream
    actions.forEachRemaining(line => bytes.write((line + "\n").getBytes(UTF_8)))
    bytes.toByteArray
  }
}
